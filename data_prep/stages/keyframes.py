"""Key frames of a clip (section 3.2, step 3)."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.stages import face

# Slices of an aligned crop without landmarks, as fractions of its side, margin included.
EYE_ROW = 0.36
MOUTH_ROW = 0.64
MIDDLE_COLUMN = 0.5


@dataclasses.dataclass(frozen=True)
class Slice:
    """A spatio-temporal slice (3.1): the same line of pixels from every frame, in frame order.

    Attributes:
      name: 'eye line', 'mouth line' or 'mid-line'.
      axis: Axis of a frame that `position` indexes: 0 for a row, 1 for a column.
      position: Row or column, px.
      image: Slice image `[t, m]`.
    """

    name: str
    axis: int
    position: int
    image: np.ndarray


def select(clip: Clip, *, count: int, rule: str, radius: int) -> Clip:
    """Select a fixed number of frames from onset to offset.

    Onset, apex (if known) and offset are always among the key frames, and no frame is selected
    twice. A clip with fewer frames than `count` is extended by temporal interpolation (TIM),
    whatever the rule.

    Args:
      clip: Clip with frames `[t, h, w]`, as the face stage leaves them.
      count: Number of key frames, at least 3.
      rule: 'slices' (equal steps of change in spatio-temporal slices, eq. 3.1), 'uniform' (equal
        steps of time), or 'tim' (frames interpolated at equal steps of time, Zhou et al. 2011). If
        the apex is not selected, it replaces the nearest inner key frame.
      radius: Reach of the nearest-pixel matching of 'slices', px; 0 compares each pixel with the
        same pixel.

    Returns:
      The clip with `count` frames: onset 0, offset count - 1, apex an index of these or None, their
      positions in the input clip, and as fps the mean rate of the key frames.

    Raises:
      UserError: The rule is unknown, `count` is below 3, or onset, apex and offset are out of
        order.
    """
    if rule not in ("slices", "uniform", "tim"):
        raise UserError(
            f"keyframes.rule: unknown value {rule!r}. Fix: use 'slices', 'uniform' or 'tim'."
        )
    if count < 3:
        raise UserError(
            f"steps: {count} key frames cannot hold onset, apex and offset. Fix: set it to 2 or "
            "more."
        )
    _check_order(clip)
    frames = np.asarray(clip.frames)[clip.onset : clip.offset + 1]
    if rule == "tim" or len(frames) < count:
        positions = np.linspace(0, len(frames) - 1, count)
    else:
        positions = _equal_steps(_progress(clip, rule, radius), count)
    apex = None if clip.apex is None else _include_apex(positions, clip.apex - clip.onset)
    return dataclasses.replace(
        clip,
        frames=_sample_frames(frames, positions),
        fps=(count - 1) * clip.fps / (clip.offset - clip.onset),
        onset=0,
        apex=apex,
        offset=count - 1,
        positions=clip.onset + positions.astype(np.float32),
    )


def slices(clip: Clip) -> list[Slice]:
    """Return the three spatio-temporal slices of a clip.

    They are the rows through the eyes and the mouth, and the mid-line.

    Args:
      clip: Clip with frames `[t, h, w]`. Its landmarks give the lines; without landmarks, fixed
        fractions of the crop do.
    """
    frames = np.asarray(clip.frames)
    height, width = frames.shape[1:]
    if clip.landmarks is None:
        eyes, mouth, middle = EYE_ROW * height, MOUTH_ROW * height, MIDDLE_COLUMN * width
    else:
        points = clip.landmarks
        eyes = points[face.RIGHT_EYE.start : face.LEFT_EYE.stop, 1].mean()
        mouth = points[face.MOUTH, 1].mean()
        middle = points[face.NOSE_BRIDGE, 0].mean()
    eyes, mouth = (int(np.clip(round(row), 0, height - 1)) for row in (eyes, mouth))
    middle = int(np.clip(round(middle), 0, width - 1))
    return [
        Slice("eye line", 0, eyes, frames[:, eyes]),
        Slice("mouth line", 0, mouth, frames[:, mouth]),
        Slice("mid-line", 1, middle, frames[:, :, middle]),
    ]


def _check_order(clip: Clip) -> None:
    apex = clip.onset if clip.apex is None else clip.apex
    if not 0 <= clip.onset <= apex <= clip.offset < len(clip.frames) or clip.onset == clip.offset:
        raise UserError(
            f"{clip.name}: onset {clip.onset}, apex {clip.apex}, offset {clip.offset} in "
            f"{len(clip.frames)} frames; they must be in this order, inside the clip, and onset "
            "before offset. Fix: correct the annotation."
        )


def _include_apex(positions: np.ndarray, apex: int) -> int:
    """Replace the inner position nearest to the apex by the apex, in place.

    Nothing is replaced if the apex is among the positions.

    Returns:
      Index of the apex in `positions`.
    """
    if apex not in positions:
        positions[1 + np.argmin(np.abs(positions[1:-1] - apex))] = apex
    return int(np.flatnonzero(positions == apex)[0])


def _sample_frames(frames: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the frames at the positions; TIM interpolates between frames."""
    indices = positions.astype(int)
    return frames[indices] if (indices == positions).all() else interpolate(frames, positions)


def _progress(clip: Clip, rule: str, radius: int) -> np.ndarray:
    """Return the cumulative change or time at each frame from onset to offset.

    'slices' counts change, unless nothing changes; 'uniform' counts time.
    """
    steps = np.ones(clip.offset - clip.onset)
    if rule == "slices":
        frame_range = slice(clip.onset, clip.offset + 1)
        change = np.sum(
            [
                _slice_distances(line_slice.image[frame_range], radius)
                for line_slice in slices(clip)
            ],
            0,
        )
        steps = change if change.any() else steps  # A still clip has no change; use time.
    return np.concatenate([[0.0], np.cumsum(steps, dtype=np.float64)])


def _slice_distances(image: np.ndarray, radius: int) -> np.ndarray:
    """Measure how far each line of a slice image is from the next.

    Args:
      image: `[t, m]`, one line per frame.
      radius: Distance, px, within which a pixel is compared with pixels of the next line.

    Returns:
      `[t - 1]`: mean over the line of the smallest difference.
    """
    padded = np.pad(image[1:], ((0, 0), (radius, radius)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=1)
    return np.abs(windows - image[:-1, :, None]).min(axis=2).mean(axis=1)


def _equal_steps(progress: np.ndarray, count: int) -> np.ndarray:
    """Choose `count` different frames at about equal steps of `progress`.

    Args:
      progress: `[t]`, not falling, t >= count.
      count: Number of frames to choose, at least 3.

    Returns:
      int `[count]`, rising from 0 to t - 1.
    """
    length = len(progress)
    targets = np.linspace(progress[0], progress[-1], count)
    after = np.searchsorted(progress, targets).clip(1, length - 1)
    nearer_before = targets - progress[after - 1] <= progress[after] - targets
    # Indices rise by at least 1 if and only if `indices - order` (the slack) does not fall.
    order = np.arange(count)
    slack = np.maximum.accumulate(np.where(nearer_before, after - 1, after) - order)
    slack = slack.clip(0, length - count)
    slack[0], slack[-1] = 0, length - count
    return slack + order


def interpolate(frames: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Interpolate between frames by TIM (Zhou, Zhao and Pietikainen, CVPR 2011).

    TIM embeds the frames in a path graph, where they lie on the curve of `_curve`, and maps that
    curve back to pixels through the SVD of the mean-free frames and a least-squares fit. The curve
    at the frames is an orthogonal basis of everything that is mean-free in time, so the SVD cancels
    and each new frame is a fixed combination of the old ones.

    Args:
      frames: `[t, ...]`, t >= 2, 0..255.
      positions: `[count]` in 0..t - 1, positions of the new frames. At a whole number the result is
        that frame.

    Returns:
      float32 `[count, ...]`, clipped to 0..255.
    """
    length = len(frames)
    frame_curve = _curve(np.arange(1, length + 1) / length, length)
    target_curve = _curve((np.asarray(positions) + 1) / length, length)
    weights = (1 + 2 * target_curve @ frame_curve.T) / length
    flat = frames.reshape(length, -1).astype(np.float32)
    interpolated = (weights.astype(np.float32) @ flat).reshape(len(positions), *frames.shape[1:])
    return np.clip(interpolated, 0, 255, out=interpolated)


def _curve(times: np.ndarray, length: int) -> np.ndarray:
    """Return the path graph's eigenvectors as functions of time in [0, 1].

    Returns:
      `[times, length - 1]`.
    """
    order = np.arange(1, length)
    return np.sin(np.pi * (order * times[:, None] + (length - order) / (2 * length)))
