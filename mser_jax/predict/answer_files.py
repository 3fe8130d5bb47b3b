"""What is found in videos as files: a table for people, and all of it as JSON to go on from."""

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

    A video in which nothing was found has no row. Without any movement the heads are not known,
    and have no columns.

    Args:
      path: of the file; replaced when it exists.
      answers: of one model.

    Raises:
      UserError: the file cannot be written.
      ValueError: the videos were not answered by one model.
    """
    rows = [(video, found) for video in answers for found in video.answers]
    classes = {video.class_names for video in answers}
    heads = {len(found.heads) for _, found in rows}
    if len(classes) > 1 or len(heads) > 1:
        raise ValueError(f"answers of several models: classes {classes}, heads {heads}")
    names = next(iter(classes), ())
    with files.atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_header(names, next(iter(heads), 0)))
        writer.writerows(_row(video, found, names) for video, found in rows)


def write_state(path: Path, key: dict[str, Any], pages: str, state: ResumeState) -> None:
    """Write what is known of a video, and all that it depends on.

    Args:
      path: of the file; replaced when it exists.
      key: of the request, as JSON gives it back.
      pages: which pages there are of the movements.
      state: what is known.

    Raises:
      UserError: the file cannot be written.
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
    """Read what `write_state` wrote of the same request.

    Args:
      path: of the file.
      key: of the request.
      pages: which pages of the movements are wanted; with `NO_PAGES` any will do.

    Returns:
      What is known, or None where there is no such file or it is of another request.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["asked"] == key and (pages == NO_PAGES or content["pages"] == pages):
            return ResumeState(from_json(content["answer"]), content["settled"])
    return None


def to_json(answer: VideoAnswer) -> dict[str, Any]:
    """What is known of a video in the types of JSON; a number that is none is None."""
    told = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    told |= {"fps": float(answer.fps), "class_names": [*answer.class_names]}
    told |= {
        "notes": [*answer.notes],
        "answers": [_answer_to_json(each) for each in answer.answers],
    }
    told["stretches"] = [_stretch_to_json(stretch) for stretch in answer.stretches]
    if answer.course is not None:
        values = {name: _floats_to_json(getattr(answer.course, name)) for name in _COURSE_FIELDS}
        told["course"] = {"frame": answer.course.frame.tolist(), **values}
    return told


def from_json(data: dict[str, Any]) -> VideoAnswer:
    """The video of which `to_json` told.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: it did not.
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
        answers=tuple(_answer_from_json(each) for each in data["answers"]),
        stretches=tuple(_stretch_from_json(each) for each in data["stretches"]),
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
    """Ten-thousandths of a second and of certainty are finer than anything that is known here."""
    probabilities = [each[name] for each in (answer.probabilities, *answer.heads) for name in names]
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
    told = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    told |= {"times": [*map(float, answer.times)], "confidence": float(answer.confidence)}
    told["movement"] = None if answer.movement is None else float(answer.movement)
    told["probabilities"] = _floats(answer.probabilities)
    return told | {"heads": [*map(_floats, answer.heads)], "notes": [*answer.notes]}


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
    """Nine significant digits bring every float32 back; what JSON has no number for is told."""
    return [
        float(f"{value:.9g}") if math.isfinite(value) else None if math.isnan(value) else str(value)
        for value in values.tolist()
    ]


def _float_from_json(value: float | str | None) -> float:
    return math.nan if value is None else float(value)
