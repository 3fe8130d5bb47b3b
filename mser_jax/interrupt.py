"""Stopping a long job without loss: Ctrl-C or SIGTERM asks, a further Ctrl-C insists."""

import signal
import sys
import threading
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM sets `asked`; a further SIGINT raises.

    A further SIGTERM changes nothing: schedulers send it to a job and to its steps.

    Args:
      what: what is finished first, for the message.
    """

    def __init__(self, what: str):
        self.asked = False
        self._what = what
        self._before = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.asked:
            return
        self.asked = True
        print(
            f"\nStopping after {self._what}, then saving. Ctrl-C once more to stop at once.",
            file=sys.stderr,
            flush=True,
        )
