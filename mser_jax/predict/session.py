"""From frames to classes: a session for spotted movements, and functions for a marked one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.config import context_seconds
from data_prep.pipeline.video_source import MarkedVideo, VideoSource
from data_prep.spotting.found import SpottedMovement
from data_prep.spotting.watcher import SAME_MOVEMENT_SECONDS, Watcher
from data_prep.stages import landmarks as landmark_files
from data_prep.stages.identity import Recipe
from data_prep.video.frames import open_frames
from data_prep.video.stream import open_stream
from mser_jax.predict.answers import Answer, ClassifiedMovement, VideoAnswer
from mser_jax.predict.resume import ResumeState, join

SAVE_INTERVAL = 30.0  # s
REWATCH_SECONDS = 20.0  # s of a video that a resumed run watches again before new frames

Bar = Callable[[Iterable[Any], int | None, str], Iterable[Any]]
OnMovement = Callable[[ClassifiedMovement], None]
OnSave = Callable[[ResumeState], None]


class Classifier(Protocol):
    """The part of a model that a session needs (`model.Model`)."""

    recipe: Recipe
    class_names: tuple[str, ...]
    calibrated: bool

    def classify(self, movement: Clip | SpottedMovement, first: int = 0) -> ClassifiedMovement:
        """Classify a movement; `first` is the number of the video's first frame."""
        ...


class Session:
    """Classification of the movements that are spotted while frames arrive in order.

    A movement that cannot be classified leaves a note and does not stop the session.
    """

    def __init__(
        self,
        model: Classifier,
        fps: float,
        *,
        landmarks: np.ndarray | None = None,
        name: str = "video",
        source: str = "",
        first: int = 0,
        resume_from: ResumeState | None = None,
        reader_notes: Callable[[], Iterable[str]] = tuple,
        on_movement: OnMovement | None = None,
        on_save: OnSave | None = None,
    ):
        """Create a session before the first frame.

        Args:
          model: Model that classifies the movements.
          fps: Frames per second.
          landmarks: Points of the face in all frames, `[68, 2]` px. By default dlib finds them.
          name: Name of the video in messages.
          source: Path of the video, or '' for frames without one.
          first: Number of the first frame.
          resume_from: State of an earlier pass. Its movements are not classified again.
          reader_notes: Callback that returns the notes of the frames' reader so far.
          on_movement: Callback for each classified movement.
          on_save: Callback for the results so far, every `SAVE_INTERVAL` seconds and at `save`.

        Raises:
          UserError: See `Watcher`.
        """
        self._model, self._fps, self._source = model, fps, source
        self._reader_notes, self._on_movement, self._on_save = reader_notes, on_movement, on_save
        self._watcher = Watcher(model.recipe, fps, landmarks=landmarks, name=name, first=first)
        self._resume_from = resume_from
        self._video_first = first if resume_from is None else resume_from.answer.first
        self._last_settled = self._last_settled_at_start = (
            -1 if resume_from is None else resume_from.last_settled
        )
        self._answers: list[Answer] = []
        self._failures: list[str] = []
        self._save_time = time.monotonic()

    def update(self, frame: np.ndarray | None) -> None:
        """Process the next frame, RGB uint8 `[h, w, 3]`, or None if it cannot be read."""
        self._classify(self._watcher.update(frame))
        self._last_settled = (
            self._watcher.last_settled
        )  # Set after its movements have been classified as well.
        if time.monotonic() - self._save_time > SAVE_INTERVAL:
            self.save()

    def end(self) -> None:
        """Classify the remaining movements after the last frame."""
        self._classify(self._watcher.end())

    def save(self) -> None:
        """Pass on the results so far, if they go beyond the interrupted run's."""
        if self._on_save and self._last_settled > self._last_settled_at_start:
            self._on_save(ResumeState(self.answer(), self._last_settled))
        self._save_time = time.monotonic()

    def answer(self) -> VideoAnswer:
        """Return the results so far, including those of the interrupted run."""
        watcher = self._watcher
        answer = VideoAnswer(
            source=self._source,
            fps=self._fps,
            frames=watcher.frames_seen,
            first=watcher.first,
            answers=tuple(sorted(self._answers, key=lambda answer: answer.apex)),
            stretches=tuple(watcher.stretches),
            course=watcher.course,
            class_names=self._model.class_names,
            calibrated=self._model.calibrated,
            notes=(*self._reader_notes(), *watcher.notes, *self._failures),
        )
        return answer if self._resume_from is None else join(self._resume_from, answer)

    def _classify(self, movements: Iterable[SpottedMovement]) -> None:
        for movement in movements:
            apex = movement.clip.first + (movement.clip.apex or 0)
            if self._resume_from and self._resume_from.covers(
                apex, SAME_MOVEMENT_SECONDS * self._fps
            ):
                continue
            try:
                classified = self._model.classify(movement, self._video_first)
            except UserError as error:
                name = f"The movement at frame {apex}" if self._source else "A movement"
                self._failures.append(f"{name} has no answer: {error}")
                continue
            self._answers.append(classified.answer)
            if self._on_movement:
                self._on_movement(classified)


def classify_marked_clip(
    model: Classifier,
    clip: Clip,
    *,
    source: str = "",
    first: int = 0,
    on_movement: OnMovement | None = None,
) -> VideoAnswer:
    """Classify the marked movement of a clip.

    Args:
      model: Model that classifies it.
      clip: Movement as read.
      source: Path of the video, or '' for frames without one.
      first: Number of the video's first frame.
      on_movement: Callback for the classified movement.

    Raises:
      UserError: See `Model.classify`.
    """
    classified = model.classify(clip, first)
    if on_movement:
        on_movement(classified)
    return VideoAnswer(
        source=source,
        fps=clip.fps,
        frames=clip.first + len(clip.frames) - first,
        first=first,
        answers=(classified.answer,),
        stretches=(),
        course=None,
        class_names=model.class_names,
        calibrated=model.calibrated,
    )


def watch_video(
    model: Classifier,
    video: MarkedVideo,
    resume_from: ResumeState | None,
    bar: Bar,
    on_movement: OnMovement,
    on_save: OnSave,
) -> VideoAnswer:
    """Spot and classify the movements of a video.

    Args:
      model: Model that classifies them.
      video: Video without marks.
      resume_from: State of an earlier pass.
      bar: Progress bar: takes an iterable, its length and a title.
      on_movement: Callback for each classified movement.
      on_save: Callback for the results so far, from time to time and when interrupted.

    Raises:
      UserError: The video cannot be used.
    """
    stream, title = open_stream(video.path, video.fps), video.path.name
    if resume_from is not None:
        start = max(
            resume_from.answer.first,
            resume_from.last_settled - math.ceil(REWATCH_SECONDS * stream.fps),
        )
        stream, title = open_stream(video.path, video.fps, start=start), f"From frame {start}"
    points = video.landmarks
    session: Session | None = None
    try:
        for number, frame in bar(stream, stream.expected_count, title):
            session = session or Session(
                model,
                stream.fps,
                landmarks=landmark_files.read(points, 0) if points else None,
                name=video.path.stem,
                source=str(video.path),
                first=number,
                resume_from=resume_from,
                reader_notes=lambda: stream.notes,
                on_movement=on_movement,
                on_save=on_save,
            )
            session.update(frame)
        if session is None:
            raise UserError(
                f"{video.path}: no frame can be read. Fix: check that the file is complete."
            )
        session.end()
    except KeyboardInterrupt:
        if session:
            session.save()
        raise
    return session.answer()


def classify_marked_video(
    model: Classifier, video: MarkedVideo, on_movement: OnMovement
) -> VideoAnswer:
    """Classify the marked movement of a video.

    Args:
      model: Model that classifies it.
      video: Video with its marks.
      on_movement: Callback for the classified movement.

    Raises:
      UserError: The video or its marks cannot be used.
    """
    clip = VideoSource(video, context_seconds(model.recipe)).load(video)
    first = open_frames(video.path).numbers[0] if video.path.is_dir() else 0
    source = str(video.path)
    return classify_marked_clip(model, clip, source=source, first=first, on_movement=on_movement)
