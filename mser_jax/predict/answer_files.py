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
from mser_jax.predict.resume import Before

NO_PAGES = "none"

_MARKS = ("onset", "apex", "offset")
_OF_COURSE = ("movement", "threshold")


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
    with files.at(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_header(names, next(iter(heads), 0)))
        writer.writerows(_row(video, found, names) for video, found in rows)


def write_state(path: Path, key: dict[str, Any], pages: str, state: Before) -> None:
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
        "settled": state.settled,
        "answer": to_json(state.answer),
    }
    text = json.dumps(content, allow_nan=False)
    with files.at(path) as part:
        part.write_text(text, encoding="utf-8")


def read_state(path: Path, key: dict[str, Any], pages: str) -> Before | None:
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
            return Before(from_json(content["answer"]), content["settled"])
    return None


def to_json(answer: VideoAnswer) -> dict[str, Any]:
    """What is known of a video in the types of JSON; a number that is none is None."""
    told = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    told |= {"fps": float(answer.fps), "class_names": [*answer.class_names]}
    told |= {"notes": [*answer.notes], "answers": [_of_movement(each) for each in answer.answers]}
    told["stretches"] = [_of_stretch(stretch) for stretch in answer.stretches]
    if answer.course is not None:
        values = {name: _plain(getattr(answer.course, name)) for name in _OF_COURSE}
        told["course"] = {"frame": answer.course.frame.tolist(), **values}
    return told


def from_json(told: dict[str, Any]) -> VideoAnswer:
    """The video of which `to_json` told.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: it did not.
    """
    course = told["course"]
    if course is not None:
        values = {name: np.array([*map(_number, course[name])], np.float32) for name in _OF_COURSE}
        course = Course(frame=np.array(course["frame"], int), **values)
    return VideoAnswer(
        **{name: told[name] for name in ("source", "fps", "frames", "first", "calibrated")},
        answers=tuple(_movement(each) for each in told["answers"]),
        stretches=tuple(_stretch(each) for each in told["stretches"]),
        course=course,
        class_names=tuple(told["class_names"]),
        notes=tuple(told["notes"]),
    )


def _header(names: Sequence[str], heads: int) -> list[str]:
    return [
        *("video", *_MARKS, *(f"{mark}_s" for mark in _MARKS)),
        *("class", "confidence", "calibrated", "head", "movement_px", "apex_estimated"),
        *(f"probability_{name}" for name in names),
        *(f"head{head}_{name}" for head in range(1, heads + 1) for name in names),
        "notes",
    ]


def _row(video: VideoAnswer, found: Answer, names: Sequence[str]) -> list[object]:
    """Ten-thousandths of a second and of certainty are finer than anything that is known here."""
    probabilities = [each[name] for each in (found.probabilities, *found.heads) for name in names]
    return [
        *(video.source, found.onset, found.apex, found.offset),
        *(f"{seconds:.4f}" for seconds in found.times),
        *(found.label, f"{found.confidence:.4f}", _yes(video.calibrated)),
        "all" if found.head is None else found.head,
        "" if found.movement is None else f"{found.movement:.3f}",
        _yes(found.apex_estimated),
        *(f"{probability:.4f}" for probability in probabilities),
        " ".join(found.notes),
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _of_movement(found: Answer) -> dict[str, Any]:
    told = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    told |= {"times": [*map(float, found.times)], "confidence": float(found.confidence)}
    told["movement"] = None if found.movement is None else float(found.movement)
    told["probabilities"] = _floats(found.probabilities)
    return told | {"heads": [*map(_floats, found.heads)], "notes": [*found.notes]}


def _movement(told: dict[str, Any]) -> Answer:
    onset, apex, offset = told["times"]
    return Answer(
        **{
            **{field.name: told[field.name] for field in dataclasses.fields(Answer)},
            "times": (onset, apex, offset),
            "heads": tuple(map(_floats, told["heads"])),
            "notes": tuple(told["notes"]),
        }
    )


def _of_stretch(stretch: Stretch) -> dict[str, Any]:
    window = None if stretch.window is None else stretch.window.tolist()
    return {**dataclasses.asdict(stretch), "window": window}


def _stretch(told: dict[str, Any]) -> Stretch:
    window = None if told["window"] is None else np.array(told["window"], float).reshape(4, 2)
    return Stretch(**{**told, "window": window})


def _floats(probabilities: dict[str, float]) -> dict[str, float]:
    return {name: float(probability) for name, probability in probabilities.items()}


def _plain(values: np.ndarray) -> list[float | str | None]:
    """Nine significant digits bring every float32 back; what JSON has no number for is told."""
    return [
        float(f"{value:.9g}") if math.isfinite(value) else None if math.isnan(value) else str(value)
        for value in values.tolist()
    ]


def _number(told: float | str | None) -> float:
    return math.nan if told is None else float(told)
