"""Frames as a user of `mser_jax.predict.model.Model.predict` hands them over."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.video.decoder import MAX_FPS, MIN_FPS


def checked_frames(frames: Iterable[np.ndarray], fps: float) -> Iterator[np.ndarray]:
    """The frames, uint8 or float32, each looked at when its turn comes.

    Raises:
      UserError: they are none, or their rate is no camera's.
    """
    if isinstance(frames, str | Path):
        raise UserError(
            f"{frames} is a path, and frames are arrays. Fix: python -m mser_jax.predict MODEL "
            f"{frames}, or read the video's frames (imageio, OpenCV) and hand them over."
        )
    if not (isinstance(fps, numbers.Real) and MIN_FPS <= fps <= MAX_FPS):
        raise UserError(f"fps is {fps!r}: it must be {MIN_FPS:g} to {MAX_FPS:g} frames a second.")
    return _iterate_checked(frames)


def _iterate_checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    shape = None
    for number, given in enumerate(frames):
        frame = np.asarray(given)
        if frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (3,)) or not frame.size:
            raise UserError(
                f"Frame {number} is of shape {list(frame.shape)}; grey [h, w] or RGB [h, w, 3] is "
                "needed."
            )
        if frame.dtype != np.uint8:
            frame = _to_float32(frame, number)
        if frame.shape != (shape or frame.shape):
            raise UserError(
                f"Frame {number} is of shape {list(frame.shape)}, the one before of "
                f"{list(shape or ())}. Fix: frames of one size."
            )
        shape = frame.shape
        yield frame
    if shape is None:
        raise UserError("There is not one frame. Has the generator been gone through before?")


def _to_float32(frame: np.ndarray, number: int) -> np.ndarray:
    if not np.issubdtype(frame.dtype, np.number) or np.iscomplexobj(frame):
        raise UserError(f"Frame {number} holds {frame.dtype}; numbers of 0..255 are needed.")
    frame = frame.astype(np.float32)
    if 0 < frame.max() <= 1 and not number:
        raise UserError("Frame 0 holds 0..1, and 0..255 is needed. Fix: frames times 255.")
    if not np.isfinite(frame).all():
        raise UserError(f"Frame {number} holds what is no number. Fix: leave it out.")
    return frame


def marked_clip(
    frames: np.ndarray,
    fps: float,
    onset: int | None,
    apex: int | None,
    offset: int | None,
    landmarks: np.ndarray | None,
    context_seconds: float,
) -> Clip:
    """The one movement of frames `[t, h, w]` or `[t, h, w, 3]`; of the arguments see `predict`.

    Of what lies before and after it `context_seconds` seconds are kept, as of a video file.

    Raises:
      UserError: the marks are no indices of the frames, or out of order.
    """
    first, last = onset or 0, len(frames) - 1 if offset is None else offset
    marks = [mark for mark in (first, apex, last) if mark is not None]
    whole = all(isinstance(mark, numbers.Integral) for mark in marks)
    if not whole or marks != sorted(marks) or not 0 <= first < last < len(frames):
        raise UserError(
            f"onset {first}, apex {apex}, offset {last} of {len(frames)} frames: indices from 0 in "
            "this order are needed, and onset before offset. Fix: correct the marks."
        )
    kept = math.ceil(context_seconds * fps)
    start = max(0, first - kept)
    return Clip(
        frames=frames[start : last + kept + 1],
        fps=fps,
        onset=first - start,
        apex=None if apex is None else apex - start,
        offset=last - start,
        first=start,
        subject="unknown",
        clip_id="unknown",
        label="unknown",
        emotion="unknown",
        dataset="video",
        landmarks=landmarks,
    )
