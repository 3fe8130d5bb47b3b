"""Checks of the frames that a user passes to `mser_jax.predict.model.Model.predict`."""

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
    """Return an iterator over the frames, uint8 or float32, that checks each in turn.

    Raises:
      UserError: The frames are not arrays of images, or no camera has such a rate.
    """
    if isinstance(frames, str | Path):
        raise UserError(
            f"{frames}: this is a path, but frames must be arrays. Fix: run python -m "
            f"mser_jax.predict MODEL {frames}, or read the frames with imageio or OpenCV and pass "
            "them."
        )
    if not (isinstance(fps, numbers.Real) and MIN_FPS <= fps <= MAX_FPS):
        raise UserError(f"fps is {fps!r}; it must be {MIN_FPS:g} to {MAX_FPS:g} frames per second.")
    return _iterate_checked(frames)


def _iterate_checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    shape = None
    for number, array in enumerate(frames):
        frame = np.asarray(array)
        if frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (3,)) or not frame.size:
            raise UserError(
                f"Frame {number} has the shape {list(frame.shape)}; it must be grey [h, w] or RGB "
                "[h, w, 3]."
            )
        if frame.dtype != np.uint8:
            frame = _to_float32(frame, number)
        if frame.shape != (shape or frame.shape):
            raise UserError(
                f"Frame {number} has the shape {list(frame.shape)}, the frame before it "
                f"{list(shape or ())}. Fix: pass frames of one size."
            )
        shape = frame.shape
        yield frame
    if shape is None:
        raise UserError("There are no frames. Fix: pass frames; a generator can be used only once.")


def _to_float32(frame: np.ndarray, number: int) -> np.ndarray:
    if not np.issubdtype(frame.dtype, np.number) or np.iscomplexobj(frame):
        raise UserError(f"Frame {number} holds {frame.dtype}; it must hold numbers in 0..255.")
    frame = frame.astype(np.float32)
    if 0 < frame.max() <= 1 and not number:
        raise UserError("Frame 0 holds 0..1; it must hold 0..255. Fix: multiply the frames by 255.")
    if not np.isfinite(frame).all():
        raise UserError(f"Frame {number} holds NaN or infinity. Fix: leave it out.")
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
    """Cut the marked movement out of frames `[t, h, w]` or `[t, h, w, 3]`.

    The clip also keeps `context_seconds` seconds before and after the movement, as for a video
    file. The other arguments are those of `Model.predict`.

    Raises:
      UserError: The marks are not indices of the frames, or they are out of order.
    """
    first, last = onset or 0, len(frames) - 1 if offset is None else offset
    marks = [mark for mark in (first, apex, last) if mark is not None]
    are_integers = all(isinstance(mark, numbers.Integral) for mark in marks)
    if not are_integers or marks != sorted(marks) or not 0 <= first < last < len(frames):
        raise UserError(
            f"onset {first}, apex {apex}, offset {last} of {len(frames)} frames: the marks must be "
            "indices from 0, in this order, with the onset before the offset. Fix: correct the "
            "marks."
        )
    context = math.ceil(context_seconds * fps)  # frames
    start = max(0, first - context)
    return Clip(
        frames=frames[start : last + context + 1],
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
