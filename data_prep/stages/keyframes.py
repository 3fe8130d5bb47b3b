"""Key frames of a clip (section 3.2, step 3)."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.stages import face

# Where the slices lie in an aligned crop without landmarks: fractions of its side, margin included.
EYE_ROW = 0.36
MOUTH_ROW = 0.64
MIDDLE_COLUMN = 0.5


@dataclasses.dataclass(frozen=True)
class Slice:
    """A spatio-temporal slice: one line of pixels of every frame, the lines in frame order (3.1).

    Attributes:
      name: 'eye line', 'mouth line' or 'mid-line'.
      axis: of a frame that the line is at one place of: 0 for a row, 1 for a column.
      position: the row or column, px.
      image: `[t, m]`, the slice image.
    """

    name: str
    axis: int
    position: int
    image: np.ndarray


def select(clip: Clip, *, count: int, rule: str, radius: int) -> Clip:
    """Bring the frames from onset to offset to a fixed number.

    Onset, apex (when known) and offset are always among the key frames, and no frame is there
    twice. A clip with fewer frames than `count` is brought to it by temporal interpolation (TIM),
    whatever the rule.

    Args:
      clip: frames `[t, h, w]`, as the face stage leaves them.
      count: of key frames, at least 3.
      rule: 'slices' (equal steps of change in spatio-temporal slices, eq. 3.1), 'uniform' (equal
        steps of time), or 'tim' (frames interpolated at equal steps of time, Zhou et al. 2011).
        Where the apex is none of them, the inner key frame nearest to it takes its place.
      radius: px, reach of the nearest-pixel matching of 'slices'; 0 compares pixel with pixel.

    Returns:
      The clip with `count` frames, onset 0, offset count - 1, apex an index of these or None, their
      positions in the clip that came, and as fps the mean rate of the key frames.

    Raises:
      UserError: an unknown rule, a count below 3, or an onset, apex and offset out of order.
    """
    if rule not in ("slices", "uniform", "tim"):
        raise UserError(f"keyframes.rule = {rule!r}: take 'slices', 'uniform' or 'tim'.")
    if count < 3:
        raise UserError(f"{count} key frames: onset, apex and offset need 3 or more (raise steps).")
    _check_order(clip)
    frames = np.asarray(clip.frames)[clip.onset : clip.offset + 1]
    if rule == "tim" or len(frames) < count:
        places = np.linspace(0, len(frames) - 1, count)
    else:
        places = _equal_steps(_progress(clip, rule, radius), count)
    apex = None if clip.apex is None else _include_apex(places, clip.apex - clip.onset)
    return dataclasses.replace(
        clip,
        frames=_sample_frames(frames, places),
        fps=(count - 1) * clip.fps / (clip.offset - clip.onset),
        onset=0,
        apex=apex,
        offset=count - 1,
        positions=clip.onset + places.astype(np.float32),
    )


def slices(clip: Clip) -> list[Slice]:
    """The spatio-temporal slices of a clip: rows through the eyes and the mouth, and the mid-line.

    Args:
      clip: frames `[t, h, w]`; its landmarks say where the slices lie, or else fixed shares of the
        crop.
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
            "before offset. Correct the annotation."
        )


def _include_apex(places: np.ndarray, apex: int) -> int:
    """Move the inner place nearest to the apex onto it, unless one is there; its index."""
    if apex not in places:
        places[1 + np.argmin(np.abs(places[1:-1] - apex))] = apex
    return int(np.flatnonzero(places == apex)[0])


def _sample_frames(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The frames at whole places as they are; TIM where a place lies between frames."""
    whole = places.astype(int)
    return frames[whole] if (whole == places).all() else interpolate(frames, places)


def _progress(clip: Clip, rule: str, radius: int) -> np.ndarray:
    """How far the clip has come at each frame from onset to offset: in change, or in time."""
    steps = np.ones(clip.offset - clip.onset)
    if rule == "slices":
        marked = slice(clip.onset, clip.offset + 1)
        change = np.sum([_slice_distances(line.image[marked], radius) for line in slices(clip)], 0)
        steps = change if change.any() else steps  # in a still clip only time goes on
    return np.concatenate([[0.0], np.cumsum(steps, dtype=np.float64)])


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


def _equal_steps(progress: np.ndarray, count: int) -> np.ndarray:
    """`count` different frames at about equal steps of `progress`.

    Args:
      progress: `[t]`, not falling, t >= count.
      count: of frames to choose, at least 3.

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
    return slack + order


def interpolate(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Frames between frames, by TIM (Zhou, Zhao and Pietikainen, CVPR 2011).

    TIM embeds the frames in a path graph, where they lie on the curve of `_curve`, and maps that
    curve back to pixels through the SVD of the mean-free frames and a least-squares fit. Since the
    curve at the frames is an orthogonal basis of all that is mean-free in time, the SVD cancels
    and each new frame is a fixed combination of the old ones.

    Args:
      frames: `[t, ...]`, t >= 2, 0..255.
      places: `[count]` in 0..t - 1, where a frame is wanted; at a whole number it is that frame.

    Returns:
      float32 `[count, ...]`, clipped to 0..255.
    """
    length = len(frames)
    known = _curve(np.arange(1, length + 1) / length, length)
    wanted = _curve((np.asarray(places) + 1) / length, length)
    weights = (1 + 2 * wanted @ known.T) / length
    flat = frames.reshape(length, -1).astype(np.float32)
    made = (weights.astype(np.float32) @ flat).reshape(len(places), *frames.shape[1:])
    return np.clip(made, 0, 255, out=made)


def _curve(times: np.ndarray, length: int) -> np.ndarray:
    """`[times, length - 1]`: the path graph's eigenvectors as functions of time in [0, 1]."""
    order = np.arange(1, length)
    return np.sin(np.pi * (order * times[:, None] + (length - order) / (2 * length)))
