"""Results of the watcher: movements, stretches of the video, and the spotter's signal."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep.clip import Clip


@dataclasses.dataclass(frozen=True, eq=False)
class SpottedMovement:
    """A movement that rises and falls.

    Attributes:
      clip: Clip around the movement, with frames as the face stage leaves them, float32
        `[t, S, S]`. It includes the context on both sides that a band-pass needs, as far as the
        video has it. Onset, apex and offset index these frames; `first` is the number of the clip's
        first frame in the video.
      movement: Movement of the face at the apex, head movement excluded: px of the crop, root mean
        square over the face.
    """

    clip: Clip
    movement: float


@dataclasses.dataclass(frozen=True, eq=False)
class Stretch:
    """Consecutive frames of one kind.

    Attributes:
      first: Number of the first frame.
      last: Number of the last frame.
      kind: 'face' (cropped by one transform), 'no face', or 'unread' (the frames cannot be
        decoded).
      window: Corners (x, y) of the network's window in pixels of the frame, float `[4, 2]`,
        clockwise from the top left; None if the kind is not 'face'.
      faces: Number of faces found at the beginning.
      cut: Whether the stretch begins with a cut.
    """

    first: int
    last: int
    kind: str
    window: np.ndarray | None = None
    faces: int = 0
    cut: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
    """Signal of the spotter, one value per measured frame.

    Attributes:
      frame: Frame numbers, int `[n]`, ascending.
      movement: Movement, float32 `[n]`, px of the crop as in `SpottedMovement`; NaN where it could
        not be measured.
      threshold: Value that a peak must exceed, float32 `[n]`, px of the crop.
    """

    frame: np.ndarray
    movement: np.ndarray
    threshold: np.ndarray
