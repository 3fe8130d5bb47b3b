"""The clip that passes through the preprocessing stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

Record = dict[str, Any]  # A clip after the last stage. Fields: `data_prep.pipeline.record`.


class Frames(Protocol):
    """The frames of a clip, read one at a time. NumPy arrays and videos satisfy this protocol.

    Every frame is `[h, w]` grey or `[h, w, 3]` RGB; all have the same size and type.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


@dataclasses.dataclass(frozen=True)
class Clip:
    """One micro-expression clip.

    Attributes:
      frames: Grey or RGB frames in 0..255. From a reader, each frame is read when it is accessed.
        After the face stage, a float32 array `[t, h, w]` in 0..255; floats, so that no stage rounds
        away a motion of a fraction of a pixel.
      fps: Frames per second of `frames`.
      onset: Index into `frames` of the first frame of the movement.
      apex: Index of the peak, or None if it is not marked.
      offset: Index of the last frame of the movement.
      subject: Name of the subject, as the database writes it.
      clip_id: Name of the clip, unique within the subject.
      label: Class name, one of the data set's class names.
      emotion: Emotion in the database's own sheet.
      dataset: Name of the database.
      first: Number of the first frame in the source, as in its file names. It converts an index
        into `frames` to a frame number of the source.
      apex_estimated: True if `data_prep.stages.apex` estimated the apex, which was not marked.
      landmarks: `[68, 2]` float (x, y) in pixels of the onset frame, or None.
      transform: `[2, 3]` float, from the onset frame as read to its crop; None before the face
        stage.
      positions: `[t]` float, position of each frame among the frames as read; None before the key
        frames are selected. Fractional where TIM interpolates between two frames.
      notes: Doubts about the clip that did not stop it, one sentence each.
    """

    frames: Frames
    fps: float
    onset: int
    apex: int | None
    offset: int
    subject: str
    clip_id: str
    label: str
    emotion: str
    dataset: str
    first: int = 0
    apex_estimated: bool = False
    landmarks: np.ndarray | None = None
    transform: np.ndarray | None = None
    positions: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`dataset/subject/clip_id`, unique within a run."""
        return f"{self.dataset}/{self.subject}/{self.clip_id}"
