"""Pairs of frames of synthetic faces whose motion is known, and the error of a flow on them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_prep import config
from data_prep.common.cv import cv2
from data_prep.stages import face
from data_prep.synthetic.clips import CLASSES, Entry, SyntheticSource

AREA = 0.25  # of the longest displacement by the expression: where it is less is not its area
FRAME = 320  # px: the crop at full size is then smaller than what it is cut from


class Pairs(NamedTuple):
    """The onset frame against the frame half way to the apex, and against the apex.

    Attributes:
      first: float32 `[n, s, s]`, the onset frame as the face stage crops it.
      second: float32 `[n, s, s]`.
      motion: float32 `[n, s, s, 2]`: all that moves, px of the crop.
      expression: float32 `[n, s, s, 2]`: the action units alone.
      labels: `[n]`, names of the classes.
    """

    first: np.ndarray
    second: np.ndarray
    motion: np.ndarray
    expression: np.ndarray
    labels: np.ndarray


def make(seed: int, subjects: int, clips: int, size: int) -> Pairs:
    """Two pairs a clip, at a crop of `size` px and its margin.

    The longest displacement is drawn from 0.5 to 5 px of a frame, 0.3 to 3.5 px of a crop of 134.
    """
    spec = config.synthetic()
    spec.seed, spec.subjects, spec.clips_per_subject, spec.size = seed, subjects, clips, FRAME
    spec.amplitude = (0.5, 5.0)
    source = SyntheticSource(spec)
    pairs = [pair for entry in source.entries() for pair in _pairs(source, entry, size)]
    return Pairs(*map(np.stack, zip(*pairs)))


def _pairs(source: SyntheticSource, entry: Entry, size: int) -> Iterator[tuple]:
    clip, margin = source.load(entry), config.margin(size)
    assert clip.landmarks is not None
    assert clip.apex is not None
    matrix = face.align(clip.landmarks, size, margin)
    settings = config.recipe().face.to_dict()
    frames = np.asarray(face.crop(clip, size=size, margin=margin, **settings).frames)
    truths = source.motion(entry), source.action_unit_motion(entry)
    for frame in ((clip.onset + clip.apex) // 2, clip.apex):
        fields = (warp_to_crop(truth[frame], matrix, frames.shape[1]) for truth in truths)
        yield frames[clip.onset], frames[frame], *fields, entry.label


def warp_to_crop(field: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """A displacement field of the frame `[h, w, 2]` as one of the crop `[side, side, 2]`, px.

    It is resampled, turned and scaled as the crop is, and zero where the crop leaves the frame.
    """
    there = cv2.warpAffine(field.astype(np.float32), matrix, (side, side))
    return there @ matrix[:, :2].T.astype(np.float32)


def errors(flow: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Mean endpoint error `[n]` of `[n, s, s, 2]` where the expression moves, px."""
    wrong = np.linalg.norm(flow - pairs.motion, axis=-1)
    moves = np.linalg.norm(pairs.expression, axis=-1)
    area = moves >= AREA * moves.max((1, 2), keepdims=True)
    return (wrong * area).sum((1, 2)) / area.sum((1, 2))


def groups(pairs: Pairs) -> dict[str, np.ndarray]:
    """Masks `[n]`: each class, then pairs whose expression is shorter and longer than 1 px."""
    longest = np.linalg.norm(pairs.expression, axis=-1).max((1, 2))
    by_class = {name: pairs.labels == name for name in CLASSES}
    return {**by_class, "under 1 px": longest < 1, "1 px or more": longest >= 1}
