"""The record of every value of an annotation that was repaired and every row left out."""

from __future__ import annotations

import collections
import csv
import dataclasses
import itertools
import operator
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE = "repairs.csv"
ROW, APEX = "row", "apex"  # Values of `Repair.field` that the code looks for.
LEFT_OUT = "left out"
NO_APEX = "no apex is marked"
ESTIMATED = "estimated from the flow"
_MAX_CLIPS_SHOWN = 3  # Clips named for each reason in the table on the screen.


@dataclasses.dataclass(frozen=True)
class Repair:
    """One repaired value of the annotation, or one row, folder or image that was left out.

    Attributes:
      clip: `dataset/subject/clip_id`.
      field: 'onset', 'apex' or 'offset' for a repaired value, 'row' for a row that was left out,
        'folder' or 'image' for one that no row names.
      was: Value that the release states, '' if none.
      now: Value in use; 'left out' for a row, a folder or an image; '' for an apex that is yet to
        be estimated.
      reason: Reason for the change and its source, in the same words for every clip with the same
        fault.
    """

    clip: str
    field: str
    was: str
    now: str
    reason: str


def left_out_row(clip: str, reason: str, stated: object = "") -> Repair:
    """Create the entry for a row that is left out."""
    return Repair(clip, ROW, str(stated), LEFT_OUT, reason)


def count_dropped(repairs: Iterable[Repair]) -> dict[str, int]:
    """Return reason -> number of rows left out for it."""
    return dict(collections.Counter(repair.reason for repair in repairs if repair.field == ROW))


def count_repaired(repairs: Iterable[Repair]) -> dict[str, int]:
    """Return 'field: reason' -> number of repaired values, without what was left out."""
    values = (repair for repair in repairs if repair.now != LEFT_OUT)
    return dict(collections.Counter(f"{repair.field}: {repair.reason}" for repair in values))


def with_apexes(repairs: Iterable[Repair], apexes: Mapping[str, int]) -> list[Repair]:
    """Return the repairs with the estimated apexes filled in.

    Args:
      repairs: Repairs of the listing, where an apex yet to be estimated is ''.
      apexes: Clip -> frame number of its apex.
    """
    return [
        dataclasses.replace(
            repair, now=str(apexes[repair.clip]), reason=f"{repair.reason}; {ESTIMATED}"
        )
        if repair.field == APEX and not repair.now and repair.clip in apexes
        else repair
        for repair in repairs
    ]


def write(repairs: Iterable[Repair], path: Path) -> None:
    """Write the repairs as a CSV file, one per line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(field.name for field in dataclasses.fields(Repair))
        rows.writerows(dataclasses.astuple(repair) for repair in repairs)


def table(repairs: Iterable[Repair], width: int = 79) -> list[str]:
    """Format lines for the screen: each reason, the number of its clips, a few clips."""
    messages = (
        (f"{LEFT_OUT if r.field == ROW else r.field}: {r.reason}", r.clip.partition("/")[2])
        for r in repairs
    )
    return group_lines(messages, _MAX_CLIPS_SHOWN, width)


def group_lines(
    messages: Iterable[tuple[str, str]], max_clips: int | None = None, width: int = 79
) -> list[str]:
    """Format lines for the screen: each message once, with the clips that it concerns.

    Args:
      messages: Pairs (message, clip).
      max_clips: Maximum number of clips named for one message; None names all.
      width: Width of the screen in characters.
    """
    lines = [f"{'clips':>5}  what"]
    for message, group in itertools.groupby(sorted(messages), key=operator.itemgetter(0)):
        clips = [clip for _, clip in group]
        shown = clips[:max_clips]
        more = f", ... ({len(clips) - len(shown)} more)" if len(clips) > len(shown) else ""
        lines += textwrap.wrap(
            f"{message}: {', '.join(shown)}{more}",
            width,
            initial_indent=f"{len(clips):5d}  ",
            subsequent_indent=" " * 7,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
