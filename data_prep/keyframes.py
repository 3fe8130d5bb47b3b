"""Key frames of a clip (section 3.2, step 3)."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep import face
from data_prep.clip import Clip
from data_prep.errors import UserError

# Where the slices lie in an aligned crop without landmarks: fractions of its side, margin included.
EYE_ROW = 0.36
MOUTH_ROW = 0.64
MIDDLE_COLUMN = 0.5


def select(clip: Clip, *, count: int, rule: str, radius: int) -> Clip:
    """Bring the frames from onset to offset to a fixed number.

    Onset, apex (when known) and offset are always among the key frames, and no frame is there
    twice. A clip with fewer frames than `count` is brought to it by temporal interpolation (TIM),
    whatever the rule; its apex is then the key frame nearest in time.

    Args:
      clip: frames `[t, h, w]` or `[t, h, w, 3]`.
      count: of key frames, at least 3.
      rule: 'slices' (equal steps of change in spatio-temporal slices, eq. 3.1), 'uniform' (equal
        steps of time), or 'tim' (frames interpolated at equal steps of time, Zhou et al. 2011).
      radius: px, reach of the nearest-pixel matching of 'slices'; 0 compares pixel with pixel.

    Returns:
      The clip with `count` frames, onset 0, offset count - 1, apex an index of these or None, and
      as fps the mean rate of the key frames.

    Raises:
      UserError: an unknown rule, a count below 3, or an onset, apex and offset out of order.
    """
    if rule not in ("slices", "uniform", "tim"):
        raise UserError(f"keyframes.rule = {rule!r}: take 'slices', 'uniform' or 'tim'.")
    if count < 3:
        raise UserError(f"{count} key frames: onset, apex and offset need 3 or more (raise steps).")
    _check_order(clip)
    frames = clip.frames[clip.onset : clip.offset + 1]
    apex = None if clip.apex is None else clip.apex - clip.onset
    if rule == "tim" or len(frames) < count:
        chosen, key_apex = interpolate(frames, count), _nearest(apex, len(frames), count)
    else:
        progress = np.arange(len(frames), dtype=np.float64)
        if rule == "slices":
            progress = _progress(frames, *_slice_lines(clip), radius)
        indices = _equal_steps(progress, count, apex)
        chosen = frames[indices]
        key_apex = None if apex is None else int(np.flatnonzero(indices == apex)[0])
    return dataclasses.replace(
        clip,
        frames=chosen,
        fps=(count - 1) * clip.fps / (clip.offset - clip.onset),
        onset=0,
        apex=key_apex,
        offset=count - 1,
    )


def _check_order(clip: Clip) -> None:
    apex = clip.onset if clip.apex is None else clip.apex
    if not 0 <= clip.onset <= apex <= clip.offset < len(clip.frames) or clip.onset == clip.offset:
        raise UserError(
            f"{clip.name}: onset {clip.onset}, apex {clip.apex}, offset {clip.offset} in "
            f"{len(clip.frames)} frames; they must be in this order, inside the clip, and onset "
            "before offset. Correct the annotation."
        )


def _nearest(apex: int | None, length: int, count: int) -> int | None:
    """The key frame nearest in time to the apex; at an end only when the apex is there."""
    if apex is None or apex == 0:
        return apex
    if apex == length - 1:
        return count - 1
    return int(np.clip(round(apex * (count - 1) / (length - 1)), 1, count - 2))


def _slice_lines(clip: Clip) -> tuple[list[int], list[int]]:
    """The rows (eye line, mouth line) and columns (mid-line) that are cut through the frames."""
    height, width = clip.frames.shape[1:3]
    if clip.landmarks is None:
        rows, columns = [EYE_ROW * height, MOUTH_ROW * height], [MIDDLE_COLUMN * width]
    else:
        points = clip.landmarks
        eyes = points[face.RIGHT_EYE.start : face.LEFT_EYE.stop]
        rows = [eyes[:, 1].mean(), points[face.MOUTH, 1].mean()]
        columns = [points[face.NOSE_BRIDGE, 0].mean()]
    return (
        [int(np.clip(round(row), 0, height - 1)) for row in rows],
        [int(np.clip(round(column), 0, width - 1)) for column in columns],
    )


def _progress(frames: np.ndarray, rows: list[int], columns: list[int], radius: int) -> np.ndarray:
    """Cumulative change of the slices, `[t]`, from 0 at the first frame."""
    grey = np.stack([face.grey(frame) for frame in frames])
    slices = [grey[:, row, :] for row in rows] + [grey[:, :, column] for column in columns]  # (3.1)
    change = sum(_slice_distances(image, radius) for image in slices)
    return np.concatenate([[0.0], np.cumsum(change, dtype=np.float64)])


def _slice_distances(image: np.ndarray, radius: int) -> np.ndarray:
    """How far each line of a slice image is from the next, by nearest-pixel matching.

    Args:
      image: `[t, m]`, one line a frame.
      radius: px; a pixel is compared with those at most this far away in the next line.

    Returns:
      `[t - 1]`: the mean over the line of the smallest difference.
    """
    padded = np.pad(image[1:], ((0, 0), (radius, radius)), mode="edge")
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=1)
    return np.abs(near - image[:-1, :, None]).min(axis=2).mean(axis=1)


def _equal_steps(progress: np.ndarray, count: int, apex: int | None) -> np.ndarray:
    """`count` different frames at about equal steps of `progress`, with both ends and the apex.

    Args:
      progress: `[t]`, not falling, t >= count.
      count: of frames to choose, at least 3.
      apex: a frame that must be among them, or None.

    Returns:
      int `[count]`, rising from 0 to t - 1.
    """
    length = len(progress)
    targets = np.linspace(progress[0], progress[-1], count)
    after = np.searchsorted(progress, targets).clip(1, length - 1)
    nearer_before = targets - progress[after - 1] <= progress[after] - targets
    # Rising by at least one each step is the same as `chosen - order` not falling.
    order = np.arange(count)
    slack = np.maximum.accumulate(np.where(nearer_before, after - 1, after) - order)
    slack = slack.clip(0, length - count)
    slack[0], slack[-1] = 0, length - count
    chosen = slack + order
    if apex is not None and apex not in chosen:
        inner = 1 + np.argmin(np.abs(chosen[1:-1] - apex))
        chosen[inner] = apex
    return chosen


def interpolate(frames: np.ndarray, count: int) -> np.ndarray:
    """Resample a clip in time by TIM (Zhou, Zhao and Pietikainen, CVPR 2011).

    TIM embeds the frames in a path graph, where they lie on the curve of `_curve`, and maps that
    curve back to pixels through the SVD of the mean-free frames and a least-squares fit. Since the
    curve at the frames is an orthogonal basis of all that is mean-free in time, the SVD cancels
    and each new frame is a fixed combination of the old ones.

    Args:
      frames: `[t, ...]`, t >= 2, 0..255.
      count: of frames wanted, evenly spaced from the first to the last.

    Returns:
      float32 `[count, ...]`, clipped to 0..255.
    """
    length = len(frames)
    known = _curve(np.arange(1, length + 1) / length, length)
    wanted = _curve(np.linspace(1 / length, 1, count), length)
    weights = (1 + 2 * wanted @ known.T) / length
    flat = frames.reshape(length, -1).astype(np.float32)
    made = (weights.astype(np.float32) @ flat).reshape(count, *frames.shape[1:])
    return np.clip(made, 0, 255, out=made)


def _curve(times: np.ndarray, length: int) -> np.ndarray:
    """`[times, length - 1]`: the path graph's eigenvectors as functions of time in [0, 1]."""
    order = np.arange(1, length)
    return np.sin(np.pi * (order * times[:, None] + (length - order) / (2 * length)))
