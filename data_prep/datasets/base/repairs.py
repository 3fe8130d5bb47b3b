"""What was changed of a release's annotation, and what of it is not used: nothing silently."""

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
ROW, APEX = "row", "apex"  # fields that have a meaning of their own
LEFT_OUT = "left out"
NO_APEX = "no apex is marked"
ESTIMATED = "estimated from the flow"
_MAX_CLIPS_SHOWN = 3  # clips that the table on screen names a reason


@dataclasses.dataclass(frozen=True)
class Repair:
    """One value of the annotation that was repaired, or a row that was left out.

    Attributes:
      clip: `dataset/subject/clip_id`.
      field: 'onset', 'apex' or 'offset', 'row' for one that was left out, or 'folder' for one that
        no row names.
      was: the value as the release states it, '' for none.
      now: the value that is used; 'left out' for a row; '' for an apex that is to be estimated.
      reason: why, and by whom; the same words for every clip of the same fault.
    """

    clip: str
    field: str
    was: str
    now: str
    reason: str


def left_out_row(clip: str, reason: str, stated: object = "") -> Repair:
    """The entry for a row that is not used."""
    return Repair(clip, ROW, str(stated), LEFT_OUT, reason)


def count_dropped(repairs: Iterable[Repair]) -> dict[str, int]:
    """Reason -> number of rows that were left out for it."""
    return dict(collections.Counter(r.reason for r in repairs if r.field == ROW))


def count_repaired(repairs: Iterable[Repair]) -> dict[str, int]:
    """What was repaired, and why -> number of values; rows and folders that are left out aside."""
    kept = (repair for repair in repairs if repair.now != LEFT_OUT)
    return dict(collections.Counter(f"{each.field}: {each.reason}" for each in kept))


def with_apexes(repairs: Iterable[Repair], apexes: Mapping[str, int]) -> list[Repair]:
    """The repairs with the apexes that were estimated since.

    Args:
      repairs: of the listing, in which such an apex is ''.
      apexes: clip -> number of its apex' frame.
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
    """Write them as a sheet, a line each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(field.name for field in dataclasses.fields(Repair))
        rows.writerows(dataclasses.astuple(repair) for repair in repairs)


def table(repairs: Iterable[Repair], width: int = 79) -> list[str]:
    """Lines for the screen: each reason with the number of its clips, and the first of them."""
    told = (
        (f"{LEFT_OUT if r.field == ROW else r.field}: {r.reason}", r.clip.partition("/")[2])
        for r in repairs
    )
    return group_lines(told, _MAX_CLIPS_SHOWN, width)


def group_lines(
    messages: Iterable[tuple[str, str]], max_clips: int | None = None, width: int = 79
) -> list[str]:
    """Lines for the screen of what is told of clips, the same words once.

    Args:
      messages: (what, clip).
      max_clips: clips that are named with the same words; None names all.
      width: of the screen.
    """
    lines = [f"{'clips':>5}  what"]
    for what, group in itertools.groupby(sorted(messages), key=operator.itemgetter(0)):
        clips = [clip for _, clip in group]
        named = clips[:max_clips]
        more = f", ... ({len(clips) - len(named)} more)" if len(clips) > len(named) else ""
        lines += textwrap.wrap(
            f"{what}: {', '.join(named)}{more}",
            width,
            initial_indent=f"{len(clips):5d}  ",
            subsequent_indent=" " * 7,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
