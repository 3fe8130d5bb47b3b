"""What a trained model says of a video: typed results, and no more than that."""

from __future__ import annotations

import dataclasses

from data_prep.clip import Record
from data_prep.spotting.found import Course, Stretch


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """One movement and its class.

    Attributes:
      onset: the number of its first frame, as the source numbers them.
      apex: of its peak.
      offset: of its last.
      times: seconds of onset, apex and offset from the video's first frame.
      label: the class.
      confidence: the probability of `label`: calibrated, where the model is.
      probabilities: class -> probability, calibrated likewise; they sum to 1.
      heads: for each head of the network class -> probability, as the network gives them.
      head: which of them answers, from 1; None where the mean of all does.
      movement: how far the face is moved at the apex, px of the crop; None where the marks were
        given rather than spotted.
      apex_estimated: whether nobody gave the apex.
      notes: what a user should know of it, a sentence each.
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
    """An answer with what it was made from.

    Attributes:
      answer: the class of the clip.
      record: the clip's key frames and flow, as `data_prep.pipeline.record` describes them.
    """

    answer: Answer
    record: Record


@dataclasses.dataclass(frozen=True, eq=False)
class VideoAnswer:
    """What was found in one video.

    Attributes:
      source: its path, or '' for frames that were handed over.
      fps: frames a second.
      frames: how many were read.
      first: the number of the first.
      answers: in the order of their apexes.
      stretches: where there is a face and where there is none; empty where marks were given.
      course: the spotter's signal; None where marks were given.
      class_names: in the order of the model.
      calibrated: whether the confidences are.
      notes: what a user should know of the video, a sentence each.
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
