"""Pairs of frames of synthetic faces whose motion is known, and the error of a flow on them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_prep import config
from data_prep.common.cv import cv2
from data_prep.stages import face
from data_prep.synthetic.clips import CLASSES, Entry, SyntheticSource

# Share of the longest displacement by the expression that a pixel of its area must reach.
AREA = 0.25
FRAME = 320  # px. The crop at full size is smaller than the region it is cut from.


class Pairs(NamedTuple):
    """Pairs of the onset frame with the apex frame, and with the frame half way to it.

    Attributes:
      first: Onset frames as the face stage crops them, float32 `[n, s, s]`.
      second: Later frames, float32 `[n, s, s]`.
      motion: Whole motion in px of the crop, float32 `[n, s, s, 2]`.
      expression: Motion by the action units alone, float32 `[n, s, s, 2]`.
      labels: Names of the classes, `[n]`.
    """

    first: np.ndarray
    second: np.ndarray
    motion: np.ndarray
    expression: np.ndarray
    labels: np.ndarray


def make(seed: int, subjects: int, clips: int, size: int) -> Pairs:
    """Make two pairs from each clip.

    The longest displacement is drawn from 0.5 to 5 px of a frame, 0.3 to 3.5 px of a crop of 134.

    Args:
      seed: Seed of the synthetic clips.
      subjects: Number of subjects.
      clips: Clips per subject.
      size: Side of the crop in px, without its margin.
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
    """Warp a displacement field of the frame, in px, to the crop.

    It is resampled, turned and scaled as the crop is, and zero where the crop leaves the frame.

    Args:
      field: Displacement in px of the frame, `[h, w, 2]`.
      matrix: Affine map from the frame to the crop, `[2, 3]`.
      side: Side of the crop in px.

    Returns:
      Displacement in px of the crop, `[side, side, 2]`.
    """
    resampled = cv2.warpAffine(field.astype(np.float32), matrix, (side, side))
    return resampled @ matrix[:, :2].T.astype(np.float32)


def errors(flow: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Compute the mean endpoint error of each pair in px, where the expression moves.

    Args:
      flow: Estimated flow in px, `[n, s, s, 2]`.
      pairs: Pairs with their true motion.

    Returns:
      `[n]`.
    """
    error = np.linalg.norm(flow - pairs.motion, axis=-1)
    length = np.linalg.norm(pairs.expression, axis=-1)
    area = length >= AREA * length.max((1, 2), keepdims=True)
    return (error * area).sum((1, 2)) / area.sum((1, 2))


def groups(pairs: Pairs) -> dict[str, np.ndarray]:
    """Return masks `[n]` by name: each class, then expressions under and over 1 px."""
    longest = np.linalg.norm(pairs.expression, axis=-1).max((1, 2))
    by_class = {name: pairs.labels == name for name in CLASSES}
    return {**by_class, "under 1 px": longest < 1, "1 px or more": longest >= 1}
