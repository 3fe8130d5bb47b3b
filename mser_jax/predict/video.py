"""One video, from its path to the folder of its answers.

A finished folder for the same model, files and request is reused. An interrupted run leaves a
folder under another name beside it. The next run resumes from it: it keeps the answers, and watches
the video again from shortly before the end, so that the spotter knows the usual movement there.
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
FILM_MARGIN = 1.0  # s of the video that a film shows before and after a marked movement


@dataclasses.dataclass(frozen=True)
class Request:
    """A user's request for one video.

    Attributes:
      video: Video with the marks of one movement. Without marks, movements are spotted.
      film: Whether to write a film with the answers drawn in.
      reasons: Whether to write a page for each movement.
      faces: Whether these pages may show faces.
    """

    video: MarkedVideo
    film: bool = False
    reasons: bool = False
    faces: bool = True

    @property
    def is_marked(self) -> bool:
        """Whether any mark of the movement is given."""
        return (self.video.onset, self.video.apex, self.video.offset) != (None, None, None)

    @property
    def pages(self) -> str:
        """Kind of the movements' pages."""
        if not self.reasons:
            return answer_files.NO_PAGES
        return "with faces" if self.faces else "without faces"

    def key(self, model_digest: str) -> dict[str, Any]:
        """Return all inputs that determine the answers, as JSON.

        Output options (film, pages) are excluded.

        Args:
          model_digest: Digest that identifies the model.
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
    """Answer one video and write its files.

    Args:
      model: Model that classifies the movements.
      request: Video and the requested output.
      folder: Output folder.
      bar: Progress bar: takes an iterable, its length and a title.

    Returns:
      The answer, and whether it was reused.

    Raises:
      UserError: The video or the folder cannot be used.
      KeyboardInterrupt: The run was interrupted. Results so far are kept; the same call resumes.
    """
    key = request.key(model.digest)
    finished = (
        answer_files.read_state(folder / STATE, key, request.pages) if _is_intact(folder) else None
    )
    if finished and (not request.film or (folder / FILM).is_file()):
        return finished.answer, True
    unfinished = _unfinished_folder(folder)
    try:
        folders.check_replaceable(folder, STATE, "another --out")
        if finished:  # Only the film is missing.
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(folder, unfinished)
            _write_film(unfinished, finished.answer, request)
            result = finished.answer
        else:
            result = _fill(unfinished, model, request, key, bar)
        folders.finish(unfinished, folder, replace=True)
    except UserError:
        if not (unfinished / STATE).is_file():  # Nothing was answered yet.
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error}. Fix: free disk space, correct "
            "the permissions, or give another --out. Then run the same command again."
        ) from error
    return result, False


def page_name(movement: Answer) -> str:
    """Return the file name of a movement's page."""
    return f"reason-{movement.apex:06d}.html"


def belongs_to_another_video(answer_folder: Path, path: Path) -> bool:
    """Return whether a folder, finished or not, has the answers of another video."""
    for folder in (answer_folder, _unfinished_folder(answer_folder)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if state["asked"]["path"] != str(path.resolve()):
                return True
    return False


def _stamp(path: Path) -> list[Any]:
    """Return the count, size and newest change of a file or of a folder's files."""
    files = [*path.iterdir()] if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    newest = max((stat.st_mtime_ns for stat in stats), default=0)
    return [len(stats), sum(stat.st_size for stat in stats), newest]


def _unfinished_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.unfinished")


def _is_intact(folder: Path) -> bool:
    """Return whether every file that was written to a folder still exists."""
    try:
        return all((folder / name).is_file() for name in folders.read_checksums(folder))
    except UserError:
        return False


def _fill(
    folder: Path, model: Model, request: Request, key: dict[str, Any], bar: Bar
) -> VideoAnswer:
    """Answer a video in a folder that may hold the state of an interrupted run."""

    def save(state: ResumeState) -> None:
        answer_files.write_state(folder / STATE, key, request.pages, state)

    def draw(movement: ClassifiedMovement) -> None:
        """Write the page of a movement while its frames are in memory."""
        if request.reasons:
            page, title = folder / page_name(movement.answer), request.video.path.name
            reason.write(page, model, movement, title=title, faces=request.faces)

    earlier = answer_files.read_state(folder / STATE, key, request.pages)
    if earlier is None:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if request.is_marked:
        result = session.classify_marked_video(model, request.video, draw)
    else:
        result = session.watch_video(model, request.video, earlier, bar, draw, save)
    # Saved first, so that an interruption while drawing does not lose the answers.
    save(ResumeState(result, result.first + result.frames - 1))
    _write_rest(folder, result, request)
    return result


def _write_rest(folder: Path, result: VideoAnswer, request: Request) -> None:
    """Write all files of an answered video except the state."""
    current = {page_name(movement) for movement in result.answers}
    for page in folder.glob("reason-*.html"):
        if page.name not in current:  # A resumed run may have moved its apex.
            page.unlink()
    answer_files.write_csv(folder / CSV, [result])
    timeline.write(folder / TIMELINE, result)
    if request.film:
        _write_film(folder, result, request)


def _write_film(folder: Path, result: VideoAnswer, request: Request) -> None:
    film.write(folder / FILM, _film_frames(result, request), result)


def _film_frames(result: VideoAnswer, request: Request) -> Iterator[tuple[int, np.ndarray]]:
    """Yield all frames, or those within a second of a marked movement.

    Frames that cannot be read are left out.
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
