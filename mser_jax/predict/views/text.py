"""What is found in a video, for the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from mser_jax.predict.answers import Answer, VideoAnswer
from mser_jax.predict.views.common import NOTHING, clock
from mser_jax.report import wording

_WIDTH = 79
_FIGURE = re.compile(r"\d+(\.\d+)?")
_NAMED = 8  # stretches or cuts in a sentence; answers.json has all
_WITHOUT = {"no face": "No face", "unread": "Frames that cannot be decoded"}


def text_table(answer: VideoAnswer) -> str:
    """A row for each movement, and what a user should know of them and of the video.

    Returns:
      Lines of at most 79 columns.
    """
    blocks = [_head(answer)]
    if answer.answers:
        blocks.append(_table(answer))
    told = [] if answer.answers else [NOTHING]
    told += [*_stretches(answer), *_cuts(answer), *answer.notes]
    if answer.answers and not answer.calibrated:
        told.append("The confidences are not calibrated.")
    told += _of_movements(answer.answers)
    if told:
        blocks.append("\n".join(map(_wrapped, told)))
    return "\n\n".join(blocks)


def _head(answer: VideoAnswer) -> str:
    found = wording.many(len(answer.answers), "movement")
    if answer.course is None:
        return _wrapped(f"{answer.source}: {found}, as marked, at {answer.fps:g} frames/s")
    seconds = clock(answer.frames / answer.fps)
    rate = f"{answer.fps:g} frames/s"
    source = f"{answer.source}: " if answer.source else ""
    return _wrapped(
        f"{source}{found} in {wording.many(answer.frames, 'frame')}, {seconds} at {rate}"
    )


def _table(answer: VideoAnswer) -> str:
    rows = [("", "apex at", "frames", "class", "confidence", "movement")]
    rows += [_row(number, found) for number, found in enumerate(answer.answers, 1)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    room = _WIDTH - sum(widths) - 2 * (len(widths) - 1) + widths[3]
    return "\n".join(_line(row, widths, room) for row in rows)


def _row(number: int, found: Answer) -> tuple[str, ...]:
    moved = "" if found.movement is None else f"{found.movement:.2f} px"
    marks = f"{found.onset}-{found.apex}-{found.offset}"
    return str(number), clock(found.times[1]), marks, found.label, f"{found.confidence:.0%}", moved


def _line(row: Sequence[str], widths: Sequence[int], room: int) -> str:
    """One row; the class is to the left, and is shortened to `room` columns."""
    cells = [f"{cell:>{width}}" for cell, width in zip(row, widths)]
    name = row[3] if len(row[3]) <= room else f"{row[3][: room - 3]}..."
    cells[3] = f"{name:<{min(widths[3], room)}}"
    return "  ".join(cells).rstrip()


def _of_movements(answers: Sequence[Answer]) -> Iterator[str]:
    """Their notes, each once; of those that differ in a figure alone the first movement's."""
    alike: dict[str, dict[str, str]] = {}
    for number, found in enumerate(answers, 1):
        for note in found.notes:
            alike.setdefault(_FIGURE.sub("", note), {})[str(number)] = note
    for named in alike.values():
        first, *others = named.values()
        differ = any(other != first for other in others)
        told = f" (the figures are of movement {next(iter(named))})" * differ
        yield f"Movement{'s' * (len(named) > 1)} {_listed([*named])}{told}: {first}"


def _stretches(answer: VideoAnswer) -> Iterator[str]:
    for kind, title in _WITHOUT.items():
        found = [stretch for stretch in answer.stretches if stretch.kind == kind]
        if found:
            lost = sum(stretch.last - stretch.first + 1 for stretch in found)
            named = [
                f"{stretch.first}-{stretch.last} (from {_at(answer, stretch.first)})"
                for stretch in found
            ]
            share = f"{lost / answer.fps:.1f} s in all"
            yield f"{title}, {share}: frames {_listed(named)}."


def _cuts(answer: VideoAnswer) -> Iterator[str]:
    """Where the picture changes at once, and where a face is cropped anew as it has moved."""
    cuts = [after for after in answer.stretches if after.cut]
    moved = [
        after
        for before, after in zip(answer.stretches, answer.stretches[1:])
        if before.kind == after.kind == "face" and not after.cut
    ]
    for title, found in (
        ("Cuts, across which no movement is followed", cuts),
        ("The face has moved, and is cropped anew", moved),
    ):
        if found:
            named = [f"{after.first} ({_at(answer, after.first)})" for after in found]
            yield f"{title}: at frame {_listed(named)}."


def _listed(named: Sequence[str]) -> str:
    more = f", and {len(named) - _NAMED} more" * (len(named) > _NAMED)
    return ", ".join(named[:_NAMED]) + more


def _at(answer: VideoAnswer, frame: int) -> str:
    return clock((frame - answer.first) / answer.fps)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
