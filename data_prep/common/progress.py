"""Progress bars for terminals and log files.

Training must also run without tqdm, for example on a machine that has only JAX. It then shows no
bar.
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
    """Wrap `items` in a progress bar of at most 79 columns with the time left.

    Args:
      items: Items to iterate over.
      title: Text before the bar.
      total: Number of items; None if unknown.
      unit: Name of one item.
      delay: Seconds until the bar appears.
      leave: Whether the bar stays when it is complete.
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
        # A log file gets one line in ten seconds; a terminal is redrawn five times a second.
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        maxinterval=60,
    )


def counter(**options: Any) -> Any:
    """Open a bar that its caller updates.

    Args:
      **options: Arguments of tqdm.

    Returns:
      A tqdm, or an object with the same methods that does nothing if tqdm is not installed.
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
    """Stand-in for a bar; it shows nothing."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, count: int = 1) -> None: ...

    def set_description_str(self, text: str) -> None: ...
