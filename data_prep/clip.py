"""What travels through the preprocessing stages."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Clip:
    """One micro-expression clip.

    Attributes:
      frames: `[t, h, w]` grey or `[t, h, w, 3]` RGB; uint8 from a reader, float32 in 0..255 after
        the face stage (so that no stage rounds away a motion of a fraction of a pixel).
      fps: frames a second of `frames`.
      onset: index into `frames` of the first frame of the movement.
      apex: index of its peak, or None when nobody has marked it.
      offset: index of its last frame.
      subject: who is seen, as the database writes it.
      clip_id: unique within the subject.
      label: the class name, one of the data set's class names.
      emotion: the word in the database's own sheet.
      dataset: the database's name.
      landmarks: `[68, 2]` float (x, y) in pixels of the onset frame, or None.
    """

    frames: np.ndarray
    fps: float
    onset: int
    apex: int | None
    offset: int
    subject: str
    clip_id: str
    label: str
    emotion: str
    dataset: str
    landmarks: np.ndarray | None = None

    @property
    def name(self) -> str:
        """`dataset/subject/clip_id`: unique over everything that a run holds."""
        return f"{self.dataset}/{self.subject}/{self.clip_id}"
