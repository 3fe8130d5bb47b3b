"""One video, from its path to the folder of its answers.

A finished folder with the same model, file and wishes is not made again. An interrupted one lies
beside it under another name, and goes on from where it stopped: what was answered is kept, and the
video is watched again from a little before, so that the spotter knows what is usual there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.common import folders
from data_prep.common.errors import UserError
from data_prep.pipeline.video_source import MarkedVideo
from data_prep.spotting.watcher import VERSION
from data_prep.video.stream import open_stream
from mser_jax.predict import answer_files, session
from mser_jax.predict.answers import Answer, ClassifiedMovement, VideoAnswer
from mser_jax.predict.explain import movement as reason
from mser_jax.predict.model import Model
from mser_jax.predict.resume import ResumeState
from mser_jax.predict.session import Bar
from mser_jax.predict.views import film, timeline

STATE, CSV, TIMELINE, FILM = "answers.json", "predictions.csv", "timeline.png", "overlay.mp4"
FILM_MARGIN = 1.0  # s of the video before and after a marked movement that its film shows


@dataclasses.dataclass(frozen=True)
class Request:
    """What a user wants of one video.

    Attributes:
      video: with the marks of its one movement; without any mark, movements are spotted.
      film: whether a film with the overlay is wanted.
      reasons: whether a page for each movement is.
      faces: whether faces may be in these pages.
    """

    video: MarkedVideo
    film: bool = False
    reasons: bool = False
    faces: bool = True

    @property
    def is_marked(self) -> bool:
        """Whether the one movement is given."""
        return (self.video.onset, self.video.apex, self.video.offset) != (None, None, None)

    @property
    def pages(self) -> str:
        """Which pages of the movements are wanted."""
        if not self.reasons:
            return answer_files.NO_PAGES
        return "with faces" if self.faces else "without faces"

    def key(self, model_digest: str) -> dict[str, Any]:
        """Give all that the answers depend on, as JSON gives it back.

        What is drawn of them (a film, pages) does not count.

        Args:
          model_digest: stands for the model.
        """
        video = {
            name: str(value.resolve()) if isinstance(value, Path) else value
            for name, value in vars(self.video).items()
        }
        stamps = [_stamp(path) for path in (self.video.path, self.video.landmarks) if path]
        return {"model": model_digest, "watching": VERSION, "files": stamps, **video}


def answer_video(
    model: Model, request: Request, folder: Path, bar: Bar
) -> tuple[VideoAnswer, bool]:
    """Answer one video and leave the files of it.

    Args:
      model: classifies the movements.
      request: the video and what is wanted of it.
      folder: the folder to make.
      bar: shows how far an iterable is, given its length and a title.

    Returns:
      The answer, and whether it was there before.

    Raises:
      UserError: the video or the folder cannot be used.
      KeyboardInterrupt: what was found so far is kept, and the same call goes on from there.
    """
    key = request.key(model.digest)
    done = (
        answer_files.read_state(folder / STATE, key, request.pages) if _is_intact(folder) else None
    )
    if done and (not request.film or (folder / FILM).is_file()):
        return done.answer, True
    unfinished = _unfinished_folder(folder)
    try:
        folders.check_replaceable(folder, STATE, "another --out")
        if done:  # but for the film
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(folder, unfinished)
            _write_film(unfinished, done.answer, request)
            result = done.answer
        else:
            result = _fill(unfinished, model, request, key, bar)
        folders.finish(unfinished, folder, replace=True)
    except UserError:
        if not (unfinished / STATE).is_file():  # nothing is lost
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error}. Fix: make room, correct who "
            "may read and write there, or give another --out; then run the same command again."
        ) from error
    return result, False


def page_name(movement: Answer) -> str:
    """Name the page of a movement."""
    return f"reason-{movement.apex:06d}.html"


def belongs_to_another_video(answer_folder: Path, path: Path) -> bool:
    """Whether a folder, finished or not, has the answers of another video."""
    for folder in (answer_folder, _unfinished_folder(answer_folder)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if state["asked"]["path"] != str(path.resolve()):
                return True
    return False


def _stamp(path: Path) -> list[Any]:
    """What changes when a file, or what is in a folder, does."""
    files = [*path.iterdir()] if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    newest = max((stat.st_mtime_ns for stat in stats), default=0)
    return [len(stats), sum(stat.st_size for stat in stats), newest]


def _unfinished_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.unfinished")


def _is_intact(folder: Path) -> bool:
    """Whether all that was written there still is."""
    try:
        return all((folder / name).is_file() for name in folders.read_checksums(folder))
    except UserError:
        return False


def _fill(
    folder: Path, model: Model, request: Request, key: dict[str, Any], bar: Bar
) -> VideoAnswer:
    """Answer a video in a folder, which may have what an interrupted call has found."""

    def save(state: ResumeState) -> None:
        answer_files.write_state(folder / STATE, key, request.pages, state)

    def draw(movement: ClassifiedMovement) -> None:
        """Draw the page of a movement while its frames are there."""
        if request.reasons:
            page, title = folder / page_name(movement.answer), request.video.path.name
            reason.write(page, model, movement, title=title, faces=request.faces)

    before = answer_files.read_state(folder / STATE, key, request.pages)
    if before is None:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if request.is_marked:
        result = session.classify_marked_video(model, request.video, draw)
    else:
        result = session.watch_video(model, request.video, before, bar, draw, save)
    # First, so that what is watched is not lost while the rest is drawn.
    save(ResumeState(result, result.first + result.frames - 1))
    _write_rest(folder, result, request)
    return result


def _write_rest(folder: Path, result: VideoAnswer, request: Request) -> None:
    """Write all but the state of a video that is answered."""
    current = {page_name(movement) for movement in result.answers}
    for page in folder.glob("reason-*.html"):
        if page.name not in current:  # of a movement that a later pass saw otherwise
            page.unlink()
    answer_files.write_csv(folder / CSV, [result])
    timeline.write(folder / TIMELINE, result)
    if request.film:
        _write_film(folder, result, request)


def _write_film(folder: Path, result: VideoAnswer, request: Request) -> None:
    film.write(folder / FILM, _film_frames(result, request), result)


def _film_frames(result: VideoAnswer, request: Request) -> Iterator[tuple[int, np.ndarray]]:
    """Give all frames, or of a marked movement those from a second before to one after.

    Those that cannot be read are left out.
    """
    first, last = result.first, result.first + result.frames - 1
    if request.is_marked:
        (movement,) = result.answers
        margin = round(FILM_MARGIN * result.fps)
        first, last = max(first, movement.onset - margin), movement.offset + margin
    for number, frame in open_stream(request.video.path, request.video.fps, start=first):
        if number > last:
            return
        if frame is not None:
            yield number, np.clip(np.rint(frame), 0, 255).astype(np.uint8)
