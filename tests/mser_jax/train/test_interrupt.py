import os
import signal
import threading

import pytest

from mser_jax.train.loop import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_and_a_further_ctrl_c_raises(number, capsys):
    before = signal.getsignal(number)
    with Interrupt("the present epoch") as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert "Stopping after the present epoch, then saving." in capsys.readouterr().err
        os.kill(os.getpid(), signal.SIGTERM)  # a scheduler's second changes nothing
        assert capsys.readouterr().err == ""
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before


def test_without_a_signal_nothing_happens(capsys):
    before = signal.getsignal(signal.SIGINT)
    with Interrupt("this") as interrupt:
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert not interrupt.requested
    assert capsys.readouterr() == ("", "")


def test_another_thread_leaves_the_signals_alone():
    seen = []

    def work():
        with Interrupt("this"):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
