"""Movements in a synthetic clip: action units, and movements that carry no class.

A movement is a smooth displacement field fixed to the face, times a course over time. Fields are
sums of Gaussians at landmarks. The expression is drawn from one random stream and everything else
from another, so that only the expression depends on the class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter1d

from data_prep.common.cv import cv2
from data_prep.synthetic import subject as synthetic_subject
from data_prep.synthetic.subject import MIRROR

CLASSES = ("negative", "positive", "surprise", "other")

# A push: the landmarks at whose mean it acts, its direction (outwards, upwards) in units of the
# movement, and its reach (sigma of a Gaussian) in eye distances. It is given for the side of
# landmark 0; the other side is its mirror image. A landmark on the midline is its own mirror image.
Push = tuple[tuple[int, ...], tuple[float, float], float]

ACTION_UNITS: dict[int, tuple[Push, ...]] = {
    1: (((21,), (0, 1), 0.16), ((20,), (0, 0.9), 0.16)),  # inner brow raiser
    2: (((17,), (0, 0.8), 0.18), ((18,), (0, 1), 0.18), ((19,), (0, 0.6), 0.15)),  # outer brow
    4: (((21,), (-0.5, -0.85), 0.18), ((20,), (-0.5, -0.85), 0.18), ((19,), (-0.3, -0.6), 0.18)),
    6: (((36, 48), (-0.1, 0.9), 0.24), ((40, 41), (0, 0.4), 0.12), ((36,), (-0.3, 0), 0.14)),
    7: (((40, 41), (0, 0.9), 0.11), ((37, 38), (0, -0.75), 0.1)),  # lid tightener
    9: (((31,), (0, 0.9), 0.14), ((29,), (0, 0.5), 0.13), ((21,), (-0.3, -0.4), 0.14)),
    10: (((50,), (0, 1), 0.14), ((51,), (0, 0.9), 0.12), ((31,), (0.15, 0.4), 0.13)),  # upper lip
    12: (((48,), (0.75, 0.7), 0.2), ((36, 48), (0.1, 0.4), 0.22)),  # lip corner puller
    14: (((48,), (0.95, 0.0), 0.15), ((3, 48), (0.4, 0.0), 0.18)),  # dimpler
    15: (((48,), (0.2, -1), 0.18), ((5, 48), (0, -0.4), 0.2)),  # lip corner depressor
    17: (((57, 58), (0, 0.85), 0.15), ((8,), (0, 0.6), 0.22)),  # chin raiser
    25: (((58, 67), (0, -0.85), 0.13), ((57, 66), (0, -0.85), 0.13), ((51,), (0, 0.6), 0.14)),
    26: (((8,), (0, -1), 0.26), ((6,), (0, -0.8), 0.2), ((57, 58), (0, -0.85), 0.2)),  # jaw drop
}
# Probability of each unit in a clip of the class. At least one key unit of the class is present.
CLASS_UNITS: dict[str, dict[int, float]] = {
    "negative": {4: 0.65, 9: 0.4, 15: 0.4, 7: 0.35, 10: 0.3, 17: 0.3, 1: 0.15, 14: 0.1, 25: 0.1},
    "positive": {12: 0.85, 6: 0.55, 25: 0.25, 14: 0.2, 7: 0.15, 10: 0.1, 2: 0.05, 15: 0.05},
    "surprise": {1: 0.75, 2: 0.75, 26: 0.4, 25: 0.35, 4: 0.1, 12: 0.05, 7: 0.05, 17: 0.05},
    "other": {
        **{14: 0.55, 17: 0.45, 7: 0.35, 4: 0.25, 26: 0.2, 25: 0.15, 6: 0.15},
        **{2: 0.15, 10: 0.15, 12: 0.15, 15: 0.15, 1: 0.1, 9: 0.1},
    },
}
CLASS_KEYS: dict[str, tuple[int, ...]] = {
    "negative": (4, 9, 15),
    "positive": (12, 6),
    "surprise": (1, 2),
    "other": (14, 17, 7),
}
# Movements that carry no class, each with its possible strengths (left, right).
SIDES = ((1.0, 0.0), (0.0, 1.0))
TOGETHER = ((1.0, -1.0), (-1.0, 1.0))  # Both sides move to the same side of the image.
DISTRACTIONS: tuple[tuple[tuple[Push, ...], tuple[tuple[float, float], ...]], ...] = (
    ((((37, 38, 40, 41), (1, 0), 0.07),), TOGETHER),  # gaze
    ((((7,), (1, 0), 0.3), ((6,), (1, 0), 0.3)), TOGETHER),  # jaw to one side
    ((((31,), (0.7, 0.5), 0.1),), SIDES),  # one nostril
    ((((3, 48), (1, 0.1), 0.22),), SIDES),  # one cheek
    ((((1,), (0.5, 1), 0.2),), ((1.0, 1.0), (-1.0, -1.0), *SIDES)),  # temples
)
LIDS: tuple[Push, ...] = (((37,), (0, -1), 0.085), ((38,), (0, -1), 0.085))

# Maximum change of a displacement from pixel to pixel. If these added up to 1, a face would fold
# over itself. A blink is applied before the other movements, so it does not add to them.
STEEPEST, STEEPEST_STRAY, STEEPEST_LIDS = 0.55, 0.3, 0.7
LONGEST_PULSE = 0.3  # s, maximum duration of blinks and distractions
REFERENCE = 160  # px, side of a frame for which the sizes of drift and distractions are given


@dataclasses.dataclass(frozen=True)
class Timing:
    """Number of frames of a clip, and the indices of its onset, apex and offset."""

    count: int
    onset: int
    apex: int
    offset: int


@dataclasses.dataclass(frozen=True)
class Motion:
    """Movement of a clip, at rest in its onset frame.

    Attributes:
      fields: Displacement fields `[k, h, w, 2]` (right, down), px. The first is that of the
        expression.
      courses: Factors of the fields over time, `[k, t]`.
      lids: Displacement field of a blink, `[h, w, 2]` px.
      blink: Factors of that field over time, `[t]`.
      drift: Drift of the head from its pose at the onset, `[t, 4]`: right and down in px, turn in
        radians, relative growth.
      centre: Point (x, y) that the head turns about.
    """

    fields: np.ndarray
    courses: np.ndarray
    lids: np.ndarray
    blink: np.ndarray
    drift: np.ndarray
    centre: np.ndarray

    def displacement(self, frame: int) -> np.ndarray:
        """Return the displacement of each pixel from the onset frame to another frame.

        Args:
          frame: Index of the other frame.

        Returns:
          Displacement (right, down) on the pixels of the onset frame, `[h, w, 2]` px.
        """
        grid = pixels(self.lids.shape[0])
        displacement = np.tensordot(self.courses[:, frame], self.fields, 1)
        # The lids move first. The other movements then apply where the lids have moved to.
        if self.blink[frame]:
            closed = self.blink[frame] * self.lids
            displacement = closed + synthetic_subject.sample(
                displacement, grid + closed, cv2.INTER_LINEAR
            )
        right, down, turn, growth = self.drift[frame]
        cosine, sine = (1 + growth) * np.array([np.cos(turn), np.sin(turn)])
        arm = grid + displacement - self.centre
        displacement[..., 0] += (cosine - 1) * arm[..., 0] - sine * arm[..., 1] + right
        displacement[..., 1] += sine * arm[..., 0] + (cosine - 1) * arm[..., 1] + down
        return displacement


def pixels(size: int) -> np.ndarray:
    """Return the (x, y) of every pixel, `[size, size, 2]` float32."""
    side = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(side, side), -1)


def timing(rng: np.random.Generator, fps: float) -> Timing:
    """Draw the timing of a clip: a movement of 0.2 to 0.5 s with rest around it.

    The apex is at 0.35 to 0.6 of the movement, on average a little before its middle.

    Args:
      rng: Random generator.
      fps: Frames per second.
    """
    before, after = rng.integers(2, 6, 2)
    duration = max(6, round(rng.uniform(0.2, 0.5) * fps))
    rise = round(duration * rng.uniform(0.35, 0.6))
    return Timing(
        int(before + duration + after + 1), int(before), int(before + rise), int(before + duration)
    )


def expression(
    rng: np.random.Generator, label: str, landmarks: np.ndarray, size: int
) -> tuple[dict[int, float], np.ndarray]:
    """Draw an expression of a class.

    Args:
      rng: Random generator.
      label: Class.
      landmarks: Landmarks of the face, `[68, 2]` px.
      size: Side of the frame, px.

    Returns:
      The action units with their intensities, and the displacement field `[h, w, 2]`, whose longest
      displacement is 1.
    """
    units = draw_units(rng, label)
    field = np.zeros((size, size, 2), np.float32)
    for unit, intensity in units.items():
        strengths = intensity * rng.uniform(0.6, 1.0, 2)  # Faces are not symmetric.
        turn = rng.normal(0, 0.15)
        field += push_field(landmarks, ACTION_UNITS[unit], strengths, size, turn)
    return units, field / _max_length(field)


def draw_units(rng: np.random.Generator, label: str) -> dict[int, float]:
    """Draw the action units of a clip of a class, with intensities in 0.4..1."""
    probabilities: Mapping[int, float] = CLASS_UNITS[label]
    while True:
        units = {
            unit: rng.uniform(0.4, 1.0)
            for unit, probability in probabilities.items()
            if rng.random() < probability
        }
        if any(unit in units for unit in CLASS_KEYS[label]):
            return units


def push_field(
    landmarks: np.ndarray,
    pushes: tuple[Push, ...],
    strengths: tuple[float, float] | np.ndarray,
    size: int,
    turn: float = 0.0,
) -> np.ndarray:
    """Compute the displacement field of pushes on both sides of a face.

    Args:
      landmarks: Landmarks of the face, `[68, 2]` px.
      pushes: Pushes, as in `ACTION_UNITS`.
      strengths: Strengths on the sides of landmarks 0 and 16, px; a side with 0 is left out.
      size: Side of the frame, px.
      turn: Angle by which each direction is turned outwards, radians.

    Returns:
      Displacement field (right, down), `[size, size, 2]` px.
    """
    right, up, eye_distance = _axes(landmarks)
    grid = pixels(size)
    total, weights = np.zeros((size, size, 2), np.float32), np.zeros((size, size, 1), np.float32)
    for side, strength in zip((-1, 1), strengths, strict=True):
        for marks, (outwards, upwards), reach in pushes if strength else ():
            marks = np.array(marks)
            point = landmarks[marks if side < 0 else MIRROR[marks]].mean(0)
            outwards, upwards = (
                outwards * np.cos(turn) + upwards * np.sin(turn),
                upwards * np.cos(turn) - outwards * np.sin(turn),
            )
            direction = side * outwards * right + upwards * up
            squared_distance = np.square(grid - point.astype(np.float32)).sum(-1, keepdims=True)
            weight = np.exp(-squared_distance / np.float32(2 * (reach * eye_distance) ** 2))
            total += weight * np.float32(strength * direction)
            weights += weight
    return total / (1 + weights**4) ** 0.25  # Overlapping pushes are averaged smoothly.


def _axes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the face's right and up (unit vectors) and its eye distance, px."""
    across = landmarks[42:48].mean(0) - landmarks[36:42].mean(0)
    length = float(np.linalg.norm(across))
    right = across / length
    return right, np.array([right[1], -right[0]]), length


def _max_length(field: np.ndarray) -> float:
    return float(np.sqrt(np.square(field).sum(-1).max()))


def limit_field(field: np.ndarray, length: float, max_steepness: float) -> np.ndarray:
    """Scale a unit field to `length` px, or less where the face would fold.

    Args:
      field: Field `[h, w, 2]` whose longest displacement is 1.
      length: Longest displacement of the result, px.
      max_steepness: Maximum change of the displacement from pixel to pixel.
    """
    steepness = max(float(np.abs(np.diff(field, axis=axis)).max()) for axis in (0, 1))
    return field * min(length, max_steepness / steepness)


def expression_course(time: Timing) -> np.ndarray:
    """Return the course of an expression, `[t]` in 0..1.

    It rises by a raised cosine from onset to apex, and falls by another from apex to offset.
    """
    frame = np.arange(time.count)
    marks = [time.onset, time.apex, time.offset]
    phase = np.interp(frame, marks, [0.0, 1.0, 2.0])
    return 0.5 - 0.5 * np.cos(np.pi * phase)


def head_turn(
    rng: np.random.Generator, landmarks: np.ndarray, time: Timing, fps: float, size: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw small turns of the head out of the image plane.

    The nose moves most.

    Returns:
      The displacement fields `[h, w, 2]` and the courses `[t]` of the two turns.
    """
    _, _, eye_distance = _axes(landmarks)
    stands_out = synthetic_subject.depth(pixels(size), landmarks[30], eye_distance)[..., None]
    fields = [stands_out * np.array(direction) for direction in ((1, 0), (0, 1))]
    return fields, [_wander(rng, time, fps, 0.5 * size / REFERENCE) for _ in fields]


def distraction(
    rng: np.random.Generator, landmarks: np.ndarray, time: Timing, fps: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a movement that carries no class; in half of the clips its field is 0.

    Returns:
      The displacement field `[h, w, 2]`, px, and the course `[t]`.
    """
    present, length = rng.random() < 0.5, rng.uniform(0.2, 1.2) * size / REFERENCE
    pushes, sides = DISTRACTIONS[rng.integers(len(DISTRACTIONS))]
    strengths = sides[rng.integers(len(sides))]
    middle = rng.uniform(0, time.count)
    field = push_field(landmarks, pushes, strengths, size)
    field = limit_field(field / _max_length(field), length * present, STEEPEST_STRAY)
    return field, _pulse(rng, time, fps, middle)


def blink(
    rng: np.random.Generator, landmarks: np.ndarray, time: Timing, fps: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a blink after the onset; in seven of ten clips its field is 0.

    The lids never close completely, since what they hide has no motion. They start to move after
    the onset, since what half-closed lids hide in the onset frame could not appear later.

    Returns:
      The displacement field of the lids `[h, w, 2]`, px, and the course `[t]`.
    """
    present, closed = rng.random() < 0.3, rng.uniform(0.4, 0.9)
    middle = rng.uniform(time.onset + LONGEST_PULSE * fps / 2, time.count + 0.1 * fps)
    opening = np.linalg.norm(landmarks[[37, 38, 43, 44]] - landmarks[[41, 40, 47, 46]], axis=1)
    lids = push_field(landmarks, LIDS, (1.0, 1.0), size)
    lids = limit_field(lids / _max_length(lids), present * closed * opening.mean(), STEEPEST_LIDS)
    return lids, _pulse(rng, time, fps, middle)


def _pulse(rng: np.random.Generator, time: Timing, fps: float, middle: float) -> np.ndarray:
    """Draw the course `[t]` of a movement there and back around a frame.

    The course is 0 at the onset. The movement lasts 0.12 s to `LONGEST_PULSE`.
    """
    half = fps * rng.uniform(0.06, LONGEST_PULSE / 2)
    shape = np.cos(np.pi / 2 * np.clip((np.arange(time.count) - middle) / half, -1, 1)) ** 2
    shape[shape < 1e-9] = 0  # A finished blink then costs no computation.
    return shape - shape[time.onset]


def _wander(rng: np.random.Generator, time: Timing, fps: float, reach: float) -> np.ndarray:
    """Draw a smooth random walk `[t]`, 0 at the onset and at most `reach` elsewhere."""
    walk = np.cumsum(rng.standard_normal(time.count + 40))
    walk = gaussian_filter1d(walk, 0.04 * fps)[20:-20]
    walk -= walk[time.onset]
    return walk * rng.uniform(0.05, 1) * reach / np.abs(walk).max()


def head_drift(rng: np.random.Generator, time: Timing, fps: float, size: int) -> np.ndarray:
    """Draw a small drift of the whole image, background included: `Motion.drift`."""
    pixel = size / REFERENCE
    reaches = (0.8 * pixel, 0.8 * pixel, np.radians(0.3), 0.002)
    return np.stack([_wander(rng, time, fps, reach) for reach in reaches], -1)
