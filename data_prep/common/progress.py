"""Progress bars that suit a terminal and a log file.

The training must also run where tqdm is not installed, as on a machine that has JAX alone: there
it shows no bar.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")


def bar(
    items: Iterable[Item],
    title: str,
    total: int | None,
    unit: str,
    *,
    delay: float = 0.0,
    leave: bool = True,
) -> Iterable[Item]:
    """Show how far `items` are, with an estimate of the time left, at most 79 columns wide.

    Args:
      items: to go through.
      title: before the bar.
      total: how many there are; None when nobody knows.
      unit: what one is.
      delay: seconds before the bar is there at all.
      leave: whether it stays when all is done.
    """
    from tqdm import tqdm

    return tqdm(
        items,
        title,
        total,
        leave,
        unit=unit,
        delay=delay,
        ncols=min(79, shutil.get_terminal_size().columns - 1),
        # A log file gets a line every ten seconds rather than ten a second.
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        maxinterval=60,
    )


def counter(**options: Any) -> Any:
    """Open a bar that its caller moves.

    Args:
      **options: of tqdm.

    Returns:
      A tqdm, or where it is not installed an object that does nothing by the same methods.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar()
    return tqdm(**options)


def print_line(text: str) -> None:
    """Print a line above the bars."""
    try:
        from tqdm import tqdm
    except ImportError:
        print(text, flush=True)
    else:
        tqdm.write(text)


class _NoBar:
    """Takes the place of a bar, and shows nothing."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, count: int = 1) -> None: ...

    def set_description_str(self, text: str) -> None: ...
