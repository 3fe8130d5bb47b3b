"""One video, from its path to the folder of its answers.

A finished folder with the same model, file and wishes is not made again. An interrupted one lies
beside it under another name, and goes on from where it stopped: what was answered is kept, and the
video is watched again from a little before, so that the spotter knows what is usual there.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.common import files, folders
from data_prep.common.errors import UserError
from data_prep.config import around
from data_prep.pipeline.video_source import Marked, VideoSource
from data_prep.video.frames import open_frames
from data_prep.video.stream import open_stream
from mser_jax.predict import answer_files
from mser_jax.predict.answers import Answer, VideoAnswer
from mser_jax.predict.explain import movement as reasons
from mser_jax.predict.model import Classified, Model
from mser_jax.predict.request import Asked
from mser_jax.predict.resume import Before, Keep, Pass
from mser_jax.predict.views import film, timeline

STATE, CSV, TIMELINE, FILM = "answers.json", "predictions.csv", "timeline.png", "overlay.mp4"
AROUND = 1.0  # s of the video before and after a marked movement that its film shows
AGAIN = 20.0  # s of the video that are watched once more before what is new

Bar = Callable[[Iterable[Any], int | None, str], Iterable[Any]]


def answer(model: Model, asked: Asked, place: Path, bar: Bar) -> tuple[VideoAnswer, bool]:
    """Answer one video and leave the files of it.

    Args:
      model: that is asked.
      asked: the video and what is wanted of it.
      place: the folder to make.
      bar: shows how far an iterable is, given its length and a title.

    Returns:
      What was found, and whether it was there before.

    Raises:
      UserError: the video or the folder cannot be used.
      KeyboardInterrupt: what was found so far is kept, and the same call goes on from there.
    """
    key = asked.key(model.digest)
    done = _read(place / STATE, key, asked) if _is_whole(place) else None
    if done and (not asked.film or (place / FILM).is_file()):
        return done.answer, True
    unfinished = _unfinished(place)
    try:
        folders.check_replaceable(place, STATE, "another --out")
        before = done or _read(unfinished / STATE, key, asked)
        if before is None or done:
            shutil.rmtree(unfinished, ignore_errors=True)
        if done:  # but for the film
            shutil.copytree(place, unfinished)
            film.write(unfinished / FILM, _shown(done.answer, asked), done.answer)
            found = done.answer
        else:
            unfinished.mkdir(parents=True, exist_ok=True)
            found = _found(model, asked, before, _keep(unfinished, key, model, asked), bar)
            _write(unfinished, found, asked, key)
        folders.finish(unfinished, place, replace=True)
    except UserError:
        if not (unfinished / STATE).is_file():  # nothing is lost
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    except OSError as error:
        raise UserError(
            f"{error.filename or place}: {error.strerror or error}. Remedy: make room, correct who "
            "may read and write there, or give another --out; then run the same command again."
        ) from error
    return found, False


def page_name(found: Answer) -> str:
    """Of the page of a movement."""
    return f"reason-{found.apex:06d}.html"


def is_of_another(place: Path, path: Path) -> bool:
    """Whether a folder, finished or not, has the answers of another video."""
    for folder in (place, _unfinished(place)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((folder / STATE).read_text(encoding="utf-8"))["asked"]["path"]
            if told != str(path.resolve()):
                return True
    return False


def _unfinished(place: Path) -> Path:
    return place.with_name(f".{place.name}.unfinished")


def _is_whole(place: Path) -> bool:
    """Whether all that was written there still is."""
    try:
        return all((place / name).is_file() for name in folders.sums(place))
    except UserError:
        return False


def _read(path: Path, key: dict[str, Any], asked: Asked) -> Before | None:
    """What is kept of this very question, with the pages if they are wanted; None of another."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["asked"] == key and (not asked.reasons or kept["pages"] == _pages(asked)):
            return Before(answer_files.from_json(kept["answer"]), kept["settled"])
    return None


def _save(folder: Path, key: dict[str, Any], before: Before, asked: Asked) -> None:
    told = {
        "asked": key,
        "pages": _pages(asked),
        "settled": before.settled,
        "answer": answer_files.to_json(before.answer),
    }
    text = json.dumps(told, allow_nan=False)
    with files.at(folder / STATE) as part:
        part.write_text(text, encoding="utf-8")


def _pages(asked: Asked) -> str:
    """Which pages there are of the movements."""
    return ("with faces" if asked.faces else "without faces") if asked.reasons else "none"


def _keep(folder: Path, key: dict[str, Any], model: Model, asked: Asked) -> Keep:
    """Draws the page of a movement while its frames are there, and saves what is settled."""

    def movement(each: Classified) -> None:
        if asked.reasons:
            path = folder / page_name(each.answer)
            reasons.write(path, model, each, title=asked.path.name, faces=asked.faces)

    return Keep(movement, lambda before: _save(folder, key, before, asked))


def _found(model: Model, asked: Asked, before: Before | None, keep: Keep, bar: Bar) -> VideoAnswer:
    if asked.is_marked:
        return _marked(model, asked, keep)
    stream, title = open_stream(asked.path, asked.fps), asked.path.name
    if before is not None:
        start = max(before.answer.first, before.settled - math.ceil(AGAIN * stream.fps))
        stream, title = open_stream(asked.path, asked.fps, start=start), f"From frame {start}"
    passing = Pass(model, asked, stream, before, keep)
    try:
        for number, frame in bar(stream, stream.expected, title):
            passing.see(number, frame)
        passing.end()
    except KeyboardInterrupt:
        passing.save()
        raise
    return passing.found()


def _marked(model: Model, asked: Asked, keep: Keep) -> VideoAnswer:
    """The class of the one movement that the user has marked."""
    marked = Marked(asked.path, asked.onset, asked.apex, asked.offset, asked.fps, asked.landmarks)
    clip = VideoSource(marked, around(model.recipe)).load(marked)
    first = open_frames(asked.path).numbers[0] if asked.path.is_dir() else 0
    each = model.classify(clip, model.recipe["stages"], first=first)
    keep.movement(each)
    return model.alone(each, clip, str(asked.path), first)


def _write(folder: Path, found: VideoAnswer, asked: Asked, key: dict[str, Any]) -> None:
    """The files of a video of which everything is known."""
    # First, so that what is watched is not lost while the rest is drawn.
    _save(folder, key, Before(found, found.first + found.frames - 1), asked)
    current = {page_name(each) for each in found.answers}
    for page in folder.glob("reason-*.html"):
        if page.name not in current:  # of a movement that a later pass saw otherwise
            page.unlink()
    answer_files.write_csv(folder / CSV, [found])
    timeline.write(folder / TIMELINE, found)
    if asked.film:
        film.write(folder / FILM, _shown(found, asked), found)


def _shown(found: VideoAnswer, asked: Asked) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of a film: all, or of a marked movement those from a second before to one after.

    Those that cannot be read are left out.
    """
    first, last = found.first, found.first + found.frames - 1
    if asked.is_marked:
        (one,) = found.answers
        around = round(AROUND * found.fps)
        first, last = max(first, one.onset - around), one.offset + around
    for number, frame in open_stream(asked.path, asked.fps, start=first):
        if number > last:
            return
        if frame is not None:
            yield number, np.clip(np.rint(frame), 0, 255).astype(np.uint8)
