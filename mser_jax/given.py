"""Frames as a user of `mser_jax.trained.Model.predict` hands them over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_prep.clip import Clip
from data_prep.errors import UserError
from data_prep.video_file import FASTEST, SLOWEST


def checked(frames: Iterable[np.ndarray], fps: float) -> Iterator[np.ndarray]:
    """The frames, each looked at when its turn comes.

    Raises:
      UserError: they are none, or their rate is no camera's.
    """
    if isinstance(frames, str | Path):
        raise UserError(
            f"{frames} is a path, and frames are arrays. Remedy: python -m mser_jax.predict MODEL "
            f"{frames}, or read the video's frames (imageio, OpenCV) and hand them over."
        )
    if not SLOWEST <= fps <= FASTEST:
        raise UserError(f"fps is {fps}: it must be {SLOWEST:g} to {FASTEST:g} frames a second.")
    shape = None
    for number, frame in enumerate(frames):
        found = np.shape(frame)
        if len(found) not in (2, 3) or found[2:] not in ((), (3,)):
            raise UserError(
                f"Frame {number} is of shape {list(found)}; grey [h, w] or RGB [h, w, 3] is needed."
            )
        if found != (shape or found):
            raise UserError(
                f"Frame {number} is of shape {list(found)}, the one before of "
                f"{list(shape or ())}. Remedy: frames of one size."
            )
        shape = found
        yield np.asarray(frame)
    if shape is None:
        raise UserError("There is not one frame. Has the generator been gone through before?")


def marked(
    frames: np.ndarray,
    fps: float,
    onset: int | None,
    apex: int | None,
    offset: int | None,
    landmarks: np.ndarray | None,
) -> Clip:
    """The one movement of frames `[t, h, w]` or `[t, h, w, 3]`; of the arguments see `predict`."""
    last = len(frames) - 1 if offset is None else offset
    return Clip(
        frames=frames,
        fps=fps,
        onset=onset or 0,
        apex=apex,
        offset=last,
        subject="unknown",
        clip_id="unknown",
        label="unknown",
        emotion="unknown",
        dataset="video",
        landmarks=landmarks,
    )
