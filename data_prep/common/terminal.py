"""Tables for the terminal, at most 80 columns wide, without colour."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_WIDTH = 80


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table: names at the left, the other cells right-aligned.

    A log file and a notebook show it as the terminal does. A name that is too long is folded.

    Args:
      header: Titles of the columns, the first above the names.
      rows: Cells of each row, the name first. A short row leaves its last cells empty.
    """
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    name, *titles = header
    grid.add_column(name, overflow="fold")
    for title in titles:
        grid.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, markup=False)
    with console.capture() as capture:
        console.print(grid, highlight=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
