"""What travels through the preprocessing stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

Record = dict[str, Any]  # a clip after the last stage; `data_prep.pipeline.record` has its fields


class Frames(Protocol):
    """The frames of a clip, read one at a time: a NumPy array is one of these, and so is a video.

    Every frame is `[h, w]` grey or `[h, w, 3]` RGB, of one size and type.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


@dataclasses.dataclass(frozen=True)
class Clip:
    """One micro-expression clip.

    Attributes:
      frames: from a reader, grey or RGB frames in 0..255, each read when it is asked for;
        after the face stage an array float32 `[t, h, w]` in 0..255 (so that no stage rounds away a
        motion of a fraction of a pixel).
      fps: frames a second of `frames`.
      onset: index into `frames` of the first frame of the movement.
      apex: index of its peak, or None when nobody has marked it.
      offset: index of its last frame.
      subject: who is seen, as the database writes it.
      clip_id: unique within the subject.
      label: the class name, one of the data set's class names.
      emotion: the word in the database's own sheet.
      dataset: the database's name.
      first: the number of the first frame here, so that the marks have those of the source, as in
        the names of its files.
      apex_estimated: whether `data_prep.stages.apex` found the apex, which nobody had marked.
      landmarks: `[68, 2]` float (x, y) in pixels of the onset frame, or None.
      transform: `[2, 3]` float, from the onset frame as read to its crop; None before that stage.
      positions: `[t]` float, where each frame lies in the frames that the reader gave; None before
        the key frames are chosen. TIM puts frames between frames.
      notes: what a user should know of the clip that did not stop it, a sentence each.
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
        """`dataset/subject/clip_id`: unique over everything that a run holds."""
        return f"{self.dataset}/{self.subject}/{self.clip_id}"
