"""Stopping a long job without loss: the first Ctrl-C asks, the second insists."""

import signal
import sys
import threading
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM sets `asked`; the next raises.

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
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print(
            f"\nStopping after {self._what}, then saving. Once more to stop at once.",
            file=sys.stderr,
            flush=True,
        )
