"""How long a job goes on: a bar that suits a terminal and a log file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import TypeVar

import tqdm

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
    return tqdm.tqdm(
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
