"""The answers of a trained model to a video, as plain data classes."""

from __future__ import annotations

import dataclasses

from data_prep.clip import Record
from data_prep.spotting.found import Course, Stretch


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """One movement and its class.

    Attributes:
      onset: Number of its first frame, as the source numbers frames.
      apex: Number of its peak frame.
      offset: Number of its last frame.
      times: Seconds from the video's first frame to onset, apex and offset.
      label: Name of the class.
      confidence: Probability of `label`, calibrated if the model is calibrated.
      probabilities: Probability of each class, calibrated likewise. They sum to 1.
      heads: Probability of each class for each head of the network, not calibrated.
      head: Number of the head that answers, from 1, or None if the mean of all heads answers.
      movement: Displacement of the face at the apex in px of the crop, or None if the marks were
        given rather than spotted.
      apex_estimated: Whether the apex was estimated, not given.
      notes: What a user should know about the movement, one sentence each.
    """

    onset: int
    apex: int
    offset: int
    times: tuple[float, float, float]
    label: str
    confidence: float
    probabilities: dict[str, float]
    heads: tuple[dict[str, float], ...]
    head: int | None
    movement: float | None
    apex_estimated: bool
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class ClassifiedMovement:
    """An answer and the record that it was computed from.

    Attributes:
      answer: Class of the clip.
      record: Key frames and flow of the clip, as `data_prep.pipeline.record` describes them.
    """

    answer: Answer
    record: Record


@dataclasses.dataclass(frozen=True, eq=False)
class VideoAnswer:
    """The movements of one video.

    Attributes:
      source: Path of the video, or '' for frames passed in memory.
      fps: Frames per second.
      frames: Number of frames that were read.
      first: Number of the first frame.
      answers: Movements in the order of their apexes.
      stretches: Stretches with and without a face; empty if marks were given.
      course: Signal of the spotter, or None if marks were given.
      class_names: Names of the classes in the order of the model.
      calibrated: Whether the confidences are calibrated.
      notes: What a user should know about the video, one sentence each.
    """

    source: str
    fps: float
    frames: int
    first: int
    answers: tuple[Answer, ...]
    stretches: tuple[Stretch, ...]
    course: Course | None
    class_names: tuple[str, ...]
    calibrated: bool
    notes: tuple[str, ...] = ()
