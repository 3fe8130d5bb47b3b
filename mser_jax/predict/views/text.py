"""The answer to a video as text for the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from mser_jax.predict.answers import Answer, VideoAnswer
from mser_jax.predict.views.common import NO_MOVEMENT, format_time
from mser_jax.report import wording

_WIDTH = 79
_NUMBER = re.compile(r"\d+(\.\d+)?")
_MAX_ITEMS = 8  # stretches or cuts in a sentence; answers.json lists all
_KIND_TITLES = {"no face": "No face", "unread": "Frames that cannot be decoded"}


def text_table(answer: VideoAnswer) -> str:
    """Format a row for each movement, then the notes on them and on the video.

    Returns:
      Lines of at most 79 columns.
    """
    blocks = [_headline(answer)]
    if answer.answers:
        blocks.append(_table(answer))
    notes = [] if answer.answers else [NO_MOVEMENT]
    notes += [*_describe_stretches(answer), *_describe_cuts(answer), *answer.notes]
    if answer.answers and not answer.calibrated:
        notes.append("The confidences are not calibrated.")
    notes += _movement_notes(answer.answers)
    if notes:
        blocks.append("\n".join(map(_wrap, notes)))
    return "\n\n".join(blocks)


def _headline(answer: VideoAnswer) -> str:
    count = wording.pluralize(len(answer.answers), "movement")
    if answer.course is None:
        return _wrap(f"{answer.source}: {count}, as marked, at {answer.fps:g} frames/s")
    seconds = format_time(answer.frames / answer.fps)
    rate = f"{answer.fps:g} frames/s"
    source = f"{answer.source}: " if answer.source else ""
    return _wrap(
        f"{source}{count} in {wording.pluralize(answer.frames, 'frame')}, {seconds} at {rate}"
    )


def _table(answer: VideoAnswer) -> str:
    rows = [("", "apex at", "frames", "class", "confidence", "movement")]
    rows += [_row(number, movement) for number, movement in enumerate(answer.answers, 1)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    class_width = _WIDTH - sum(widths) - 2 * (len(widths) - 1) + widths[3]
    return "\n".join(_format_row(row, widths, class_width) for row in rows)


def _row(number: int, answer: Answer) -> tuple[str, ...]:
    movement = "" if answer.movement is None else f"{answer.movement:.2f} px"
    marks = f"{answer.onset}-{answer.apex}-{answer.offset}"
    return (
        str(number),
        format_time(answer.times[1]),
        marks,
        answer.label,
        f"{answer.confidence:.0%}",
        movement,
    )


def _format_row(row: Sequence[str], widths: Sequence[int], class_width: int) -> str:
    """Format a row. The class is left-aligned and cut to `class_width` columns."""
    cells = [f"{cell:>{width}}" for cell, width in zip(row, widths)]
    name = row[3] if len(row[3]) <= class_width else f"{row[3][: class_width - 3]}..."
    cells[3] = f"{name:<{min(widths[3], class_width)}}"
    return "  ".join(cells).rstrip()


def _movement_notes(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield each note once. Notes that differ only in numbers count as one."""
    by_text: dict[str, dict[str, str]] = {}
    for number, answer in enumerate(answers, 1):
        for note in answer.notes:
            by_text.setdefault(_NUMBER.sub("", note), {})[str(number)] = note
    for notes in by_text.values():
        first, *others = notes.values()
        differ = any(other != first for other in others)
        remark = f" (the figures are of movement {next(iter(notes))})" if differ else ""
        title = "Movements" if len(notes) > 1 else "Movement"
        yield f"{title} {_join_items([*notes])}{remark}: {first}"


def _describe_stretches(answer: VideoAnswer) -> Iterator[str]:
    for kind, title in _KIND_TITLES.items():
        stretches = [stretch for stretch in answer.stretches if stretch.kind == kind]
        if stretches:
            frames = sum(stretch.last - stretch.first + 1 for stretch in stretches)
            items = [
                f"{stretch.first}-{stretch.last} (from {_frame_time(answer, stretch.first)})"
                for stretch in stretches
            ]
            share = f"{frames / answer.fps:.1f} s in all"
            yield f"{title}, {share}: frames {_join_items(items)}."


def _describe_cuts(answer: VideoAnswer) -> Iterator[str]:
    """Yield sentences on cuts, and on frames where a moved face gets a new crop."""
    cuts = [after for after in answer.stretches if after.cut]
    moved_faces = [
        after
        for before, after in zip(answer.stretches, answer.stretches[1:])
        if before.kind == after.kind == "face" and not after.cut
    ]
    for title, stretches in (
        ("Cuts, across which no movement is followed", cuts),
        ("The face has moved, and is cropped anew", moved_faces),
    ):
        if stretches:
            items = [f"{after.first} ({_frame_time(answer, after.first)})" for after in stretches]
            yield f"{title}: at frame {_join_items(items)}."


def _join_items(items: Sequence[str]) -> str:
    if len(items) > _MAX_ITEMS:
        items = [*items[:_MAX_ITEMS], f"and {len(items) - _MAX_ITEMS} more"]
    return ", ".join(items)


def _frame_time(answer: VideoAnswer, frame: int) -> str:
    return format_time((frame - answer.first) / answer.fps)


def _wrap(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
