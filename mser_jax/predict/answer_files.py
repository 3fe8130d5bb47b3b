"""The answers as files: a CSV table for people, and a JSON state to resume from."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.common import files
from data_prep.spotting.found import Course, Stretch
from mser_jax.predict.answers import Answer, VideoAnswer
from mser_jax.predict.resume import ResumeState

NO_PAGES = "none"

_MARKS = ("onset", "apex", "offset")
_COURSE_FIELDS = ("movement", "threshold")


def write_csv(path: Path, answers: Sequence[VideoAnswer]) -> None:
    """Write one row for each movement.

    A video without movements has no row. Without any movement the number of heads is unknown,
    and the columns of the heads are left out.

    Args:
      path: Output file, replaced if it exists.
      answers: Answers of one model.

    Raises:
      UserError: The file cannot be written.
      ValueError: The answers come from several models.
    """
    rows = [(video, answer) for video in answers for answer in video.answers]
    classes = {video.class_names for video in answers}
    heads = {len(answer.heads) for _, answer in rows}
    if len(classes) > 1 or len(heads) > 1:
        raise ValueError(f"answers of several models: classes {classes}, heads {heads}")
    names = next(iter(classes), ())
    with files.atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_header(names, next(iter(heads), 0)))
        writer.writerows(_row(video, answer, names) for video, answer in rows)


def write_state(path: Path, key: dict[str, Any], pages: str, state: ResumeState) -> None:
    """Write the answer of a video with everything that it depends on.

    Args:
      path: Output file, replaced if it exists.
      key: Key of the request (`video.Request.key`).
      pages: Kind of the movements' pages (`video.Request.pages`).
      state: Answer so far.

    Raises:
      UserError: The file cannot be written.
    """
    content = {
        "asked": key,
        "pages": pages,
        "settled": state.last_settled,
        "answer": to_json(state.answer),
    }
    text = json.dumps(content, allow_nan=False)
    with files.atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")


def read_state(path: Path, key: dict[str, Any], pages: str) -> ResumeState | None:
    """Read the state that `write_state` wrote for the same request.

    Args:
      path: File that `write_state` wrote.
      key: Key of the request (`video.Request.key`).
      pages: Kind of pages that the user asks for. The state must have been saved with the same
        kind; if no pages are asked for (`NO_PAGES`), any state fits.

    Returns:
      The state, or None if the file is missing or belongs to another request.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["asked"] == key and (pages == NO_PAGES or content["pages"] == pages):
            return ResumeState(from_json(content["answer"]), content["settled"])
    return None


def to_json(answer: VideoAnswer) -> dict[str, Any]:
    """Convert an answer to JSON types. NaN becomes None."""
    data = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    data |= {"fps": float(answer.fps), "class_names": [*answer.class_names]}
    data |= {
        "notes": [*answer.notes],
        "answers": [_answer_to_json(movement) for movement in answer.answers],
    }
    data["stretches"] = [_stretch_to_json(stretch) for stretch in answer.stretches]
    if answer.course is not None:
        values = {name: _floats_to_json(getattr(answer.course, name)) for name in _COURSE_FIELDS}
        data["course"] = {"frame": answer.course.frame.tolist(), **values}
    return data


def from_json(data: dict[str, Any]) -> VideoAnswer:
    """Restore an answer from the output of `to_json`.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: The data is not the output of `to_json`.
    """
    course = data["course"]
    if course is not None:
        values = {
            name: np.array([*map(_float_from_json, course[name])], np.float32)
            for name in _COURSE_FIELDS
        }
        course = Course(frame=np.array(course["frame"], int), **values)
    return VideoAnswer(
        **{name: data[name] for name in ("source", "fps", "frames", "first", "calibrated")},
        answers=tuple(_answer_from_json(movement) for movement in data["answers"]),
        stretches=tuple(_stretch_from_json(stretch) for stretch in data["stretches"]),
        course=course,
        class_names=tuple(data["class_names"]),
        notes=tuple(data["notes"]),
    )


def _header(names: Sequence[str], heads: int) -> list[str]:
    return [
        *("video", *_MARKS, *(f"{mark}_s" for mark in _MARKS)),
        *("class", "confidence", "calibrated", "head", "movement_px", "apex_estimated"),
        *(f"probability_{name}" for name in names),
        *(f"head{head}_{name}" for head in range(1, heads + 1) for name in names),
        "notes",
    ]


def _row(video: VideoAnswer, answer: Answer, names: Sequence[str]) -> list[object]:
    """Return the cells of a movement, with four decimals: no estimate is finer."""
    tables = (answer.probabilities, *answer.heads)
    probabilities = [table[name] for table in tables for name in names]
    return [
        *(video.source, answer.onset, answer.apex, answer.offset),
        *(f"{seconds:.4f}" for seconds in answer.times),
        *(answer.label, f"{answer.confidence:.4f}", _yes_no(video.calibrated)),
        "all" if answer.head is None else answer.head,
        "" if answer.movement is None else f"{answer.movement:.3f}",
        _yes_no(answer.apex_estimated),
        *(f"{probability:.4f}" for probability in probabilities),
        " ".join(answer.notes),
    ]


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _answer_to_json(answer: Answer) -> dict[str, Any]:
    data = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    data |= {"times": [*map(float, answer.times)], "confidence": float(answer.confidence)}
    data["movement"] = None if answer.movement is None else float(answer.movement)
    data["probabilities"] = _floats(answer.probabilities)
    return data | {"heads": [*map(_floats, answer.heads)], "notes": [*answer.notes]}


def _answer_from_json(data: dict[str, Any]) -> Answer:
    onset, apex, offset = data["times"]
    return Answer(
        **{
            **{field.name: data[field.name] for field in dataclasses.fields(Answer)},
            "times": (onset, apex, offset),
            "heads": tuple(map(_floats, data["heads"])),
            "notes": tuple(data["notes"]),
        }
    )


def _stretch_to_json(stretch: Stretch) -> dict[str, Any]:
    window = None if stretch.window is None else stretch.window.tolist()
    return {**dataclasses.asdict(stretch), "window": window}


def _stretch_from_json(data: dict[str, Any]) -> Stretch:
    window = None if data["window"] is None else np.array(data["window"], float).reshape(4, 2)
    return Stretch(**{**data, "window": window})


def _floats(probabilities: dict[str, float]) -> dict[str, float]:
    return {name: float(probability) for name, probability in probabilities.items()}


def _floats_to_json(values: np.ndarray) -> list[float | str | None]:
    """Convert floats to JSON with nine digits, which restore a float32 exactly.

    NaN becomes None, and an infinity becomes text.
    """
    return [
        float(f"{value:.9g}") if math.isfinite(value) else None if math.isnan(value) else str(value)
        for value in values.tolist()
    ]


def _float_from_json(value: float | str | None) -> float:
    return math.nan if value is None else float(value)
