"""What the watcher finds in a video: movements, stretches without a face, and the course."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep.clip import Clip


@dataclasses.dataclass(frozen=True, eq=False)
class SpottedMovement:
    """A movement that rises and falls.

    Attributes:
      clip: the frames around it as the face stage leaves them, float32 `[t, S, S]`: what a
        band-pass needs on both sides, where the video has it. Its onset, apex and offset are
        indices of these, its `first` the number of the first in the video.
      movement: how far the face is moved at the apex, other than with the head: px of the crop,
        root mean square over the face.
    """

    clip: Clip
    movement: float


@dataclasses.dataclass(frozen=True, eq=False)
class Stretch:
    """Consecutive frames of which one thing holds.

    Attributes:
      first: the number of its first frame.
      last: of its last.
      kind: 'face' (one transform holds), 'no face', or 'unread' (the frames cannot be decoded).
      window: of a face, float `[4, 2]`: the corners (x, y) of the network's window in pixels of the
        frame, clockwise from the top left; else None.
      faces: how many faces were found at its beginning.
      cut: whether it begins with a cut: the picture changes at once.
    """

    first: int
    last: int
    kind: str
    window: np.ndarray | None = None
    faces: int = 0
    cut: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
    """The spotter's signal, a value for each frame that it looked at.

    Attributes:
      frame: int `[n]`, numbers of frames, rising.
      movement: float32 `[n]`, px of the crop (as in `Spotted`); NaN where it could not be measured.
      threshold: float32 `[n]`, what a peak must exceed there.
    """

    frame: np.ndarray
    movement: np.ndarray
    threshold: np.ndarray
