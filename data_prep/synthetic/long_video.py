"""Long synthetic videos of one subject with several small expressions and other movements.

The movements are those of `data_prep.synthetic.clips`, but on a time line of seconds instead of in
a clip: expressions from rest to rest with pauses between them, blinks, a head that is never quite
still, flickering light, noise and, on request, stray movements that rise and fall as an expression
does. Times are drawn in seconds, so the same video can be rendered at any frame rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from scipy.ndimage import gaussian_filter1d

from data_prep.common.cv import cv2
from data_prep.synthetic import clips as synthetic
from data_prep.synthetic import motion as synthetic_motion
from data_prep.synthetic import subject as synthetic_subject
from data_prep.synthetic.motion import CLASSES, DISTRACTIONS, Motion

RATE = 200.0  # Hz, sampling rate of the random walks
PAUSE = (1.2, 2.4)  # s between the offset of an expression and the onset of the next
DURATION = (0.2, 0.5)  # s, duration of an expression
BLINKS, STRAYS = (2.5, 5.0), (1.5, 4.0)  # s from one blink or stray movement to the next
PULSE = (0.12, synthetic_motion.LONGEST_PULSE)  # s, duration of blinks and stray movements
# s in which the head moves as far as it does in a clip of `data_prep.synthetic.clips`.
STEP = 0.5


@dataclasses.dataclass(frozen=True)
class PlantedExpression:
    """An expression of a long video.

    Attributes:
      onset: Time of the onset, s.
      apex: Time of the apex, s.
      offset: Time of the offset, s.
      amplitude: Longest displacement, px.
      label: Class.
    """

    onset: float
    apex: float
    offset: float
    amplitude: float
    label: str


@dataclasses.dataclass(frozen=True)
class _Event:
    """A displacement field `[h, w, 2]` that rises and falls by a raised cosine."""

    field: np.ndarray
    onset: float
    apex: float
    offset: float

    def strength(self, second: float) -> float:
        marks = [self.onset, self.apex, self.offset]
        return float(0.5 - 0.5 * np.cos(np.pi * np.interp(second, marks, [0.0, 1.0, 2.0])))


class LongVideo:
    """A video that is rendered frame by frame during iteration, with the same bytes every time.

    Attributes:
      fps: Frames per second.
      expressions: Expressions in order.
      landmarks: Landmarks of the face at rest, `[68, 2]` px.
    """

    def __init__(
        self,
        *,
        seed: int,
        subject: int,
        seconds: float,
        fps: float,
        size: int = 320,
        amplitude: tuple[float, float] | None = (0.3, 3.0),
        strays: bool = False,
        still: bool = False,
    ):
        """Draw a video.

        Args:
          seed: Seed of all random choices.
          subject: Number of the person.
          seconds: Length of the video, s.
          fps: Frames per second.
          size: Side of a frame, px. dlib finds the faces from 320 px on.
          amplitude: Lowest and highest amplitude, px, drawn uniformly in the logarithm. None means
            no expressions.
          strays: Whether to add stray movements, which no spotter can distinguish from expressions.
          still: Whether to leave out blinks and movements of the head.
        """
        self.fps, self._seed, self._subject, self._size = fps, seed, subject, size
        self._count = round(seconds * fps)
        rng = np.random.default_rng([seed, subject, 77])
        person = synthetic_subject.subject(seed, subject, size)
        self._pose = synthetic.draw_pose(rng, size, person.canvas.shape[0])
        self.landmarks = (person.landmarks - self._pose[:, 2]) @ np.linalg.inv(self._pose[:, :2]).T
        self._seconds = np.arange(self._count) / fps
        self._head = self._draw_head_motion(rng, seconds, 0.0 if still else 1.0)
        self.expressions, self._events = self._draw_expressions(rng, seconds, amplitude)
        self._lids = self._draw_pulses(rng, seconds, BLINKS, self._lid_field) if not still else []
        if strays:
            self._events += self._draw_pulses(rng, seconds, STRAYS, self._stray_field)
        self._noise_seed = int(rng.integers(2**32))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frames, uint8 `[h, w, 3]` RGB."""
        rng = np.random.default_rng([self._noise_seed, round(self.fps)])
        canvas = synthetic_subject.subject(self._seed, self._subject, self._size).canvas
        timing = synthetic_motion.Timing(self._count, 0, 0, 0)
        light = synthetic.draw_light(np.random.default_rng(self._noise_seed), timing, self.fps)
        shot, read = rng.uniform(0.004, 0.02), rng.uniform(0.5, 1.5)
        grid = synthetic_motion.pixels(self._size)
        backward = np.zeros_like(grid)
        for frame, gain in enumerate(light):
            backward = synthetic.invert_displacement(
                self._motion(frame).displacement(0), grid, backward
            )
            points = cv2.transform(grid + backward, self._pose).astype(np.float32)
            image = np.maximum(gain * synthetic_subject.sample(canvas, points), 0)
            noise = rng.standard_normal(image.shape, np.float32)
            image += noise * np.sqrt(np.float32(shot) * image + np.float32(read**2))
            yield np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _motion(self, frame: int) -> Motion:
        """Return the movement of one frame, with the fields that move at that moment."""
        second = self._seconds[frame]
        active = [event for event in self._events if event.onset < second < event.offset]
        active_lids = [lid for lid in self._lids if lid.onset < second < lid.offset]
        fields = np.stack([*self._turns, *(event.field for event in active)])
        courses = [*self._head[frame, :2], *(event.strength(second) for event in active)]
        return Motion(
            fields=fields.astype(np.float32),
            courses=np.array(courses, np.float32)[:, None],
            lids=active_lids[0].field if active_lids else np.zeros_like(self._turns[0]),
            blink=np.array([active_lids[0].strength(second) if active_lids else 0.0], np.float32),
            drift=self._head[frame : frame + 1, 2:].astype(np.float32),
            centre=self.landmarks[27].astype(np.float32),
        )

    def _draw_head_motion(
        self, rng: np.random.Generator, seconds: float, share: float
    ) -> np.ndarray:
        """Draw the head's turns out of the plane and its drift (see `motion`), `[t, 6]`."""
        pixel = self._size / synthetic_motion.REFERENCE
        eyes = np.linalg.norm(self.landmarks[36:42].mean(0) - self.landmarks[42:48].mean(0))
        grid = synthetic_motion.pixels(self._size)
        depth = synthetic_subject.depth(grid, self.landmarks[30], float(eyes))[..., None]
        self._turns = [
            (depth * np.array(direction)).astype(np.float32) for direction in ((1, 0), (0, 1))
        ]
        reaches = (0.5 * pixel, 0.5 * pixel, 0.8 * pixel, 0.8 * pixel, np.radians(0.3), 0.002)
        walks = [_wander(rng, seconds, share * reach) for reach in reaches]
        times = np.arange(len(walks[0])) / RATE
        return np.stack([np.interp(self._seconds, times, walk) for walk in walks], -1)

    def _draw_expressions(
        self, rng: np.random.Generator, seconds: float, amplitude: tuple[float, float] | None
    ) -> tuple[list[PlantedExpression], list[_Event]]:
        expressions, events = [], []
        onset = rng.uniform(*PAUSE)
        while amplitude:
            duration, rise = rng.uniform(*DURATION), rng.uniform(0.35, 0.6)
            marks = (onset, onset + rise * duration, onset + duration)
            label = CLASSES[rng.integers(len(CLASSES))]
            length = float(np.exp(rng.uniform(*np.log(amplitude))))
            if marks[2] > seconds - PAUSE[0]:
                break
            _, field = synthetic_motion.expression(rng, label, self.landmarks, self._size)
            field = synthetic_motion.limit_field(field, length, synthetic_motion.STEEPEST)
            expressions.append(PlantedExpression(*marks, length, label))
            events.append(_Event(field.astype(np.float32), *marks))
            onset = marks[2] + rng.uniform(*PAUSE)
        return expressions, events

    def _draw_pulses(
        self,
        rng: np.random.Generator,
        seconds: float,
        interval: tuple[float, float],
        draw: Callable[[np.random.Generator], np.ndarray],
    ) -> list[_Event]:
        """Draw movements there and back, one after the other."""
        events, middle = [], rng.uniform(0.5, interval[1])
        while middle < seconds:
            half = rng.uniform(*PULSE) / 2
            events.append(_Event(draw(rng), middle - half, middle, middle + half))
            middle += rng.uniform(*interval)
        return events

    def _lid_field(self, rng: np.random.Generator) -> np.ndarray:
        points = self.landmarks
        opening = np.linalg.norm(points[[37, 38, 43, 44]] - points[[41, 40, 47, 46]], axis=1)
        pushes = synthetic_motion.LIDS
        field = synthetic_motion.push_field(points, pushes, (1.0, 1.0), self._size)
        closed = rng.uniform(0.4, 0.9) * opening.mean()
        return _limit_field(field, closed, synthetic_motion.STEEPEST_LIDS)

    def _stray_field(self, rng: np.random.Generator) -> np.ndarray:
        pushes, sides = DISTRACTIONS[rng.integers(len(DISTRACTIONS))]
        strengths = sides[rng.integers(len(sides))]
        length = rng.uniform(0.2, 1.2) * self._size / synthetic_motion.REFERENCE
        field = synthetic_motion.push_field(self.landmarks, pushes, strengths, self._size)
        return _limit_field(field, length, synthetic_motion.STEEPEST_STRAY)


def _limit_field(field: np.ndarray, length: float, max_steepness: float) -> np.ndarray:
    longest = float(np.sqrt(np.square(field).sum(-1).max()))
    return synthetic_motion.limit_field(field / longest, length, max_steepness).astype(np.float32)


def _wander(rng: np.random.Generator, seconds: float, reach: float) -> np.ndarray:
    """Draw a smooth random walk, sampled at `RATE`.

    In `STEP` seconds it moves as far as the head of a short clip does in all. A slower walk, three
    times as large, is added: the person changes position.
    """
    count = round(seconds * RATE) + 1
    step, padding = round(STEP * RATE), round(6 * RATE)
    walk = gaussian_filter1d(np.cumsum(rng.standard_normal(count + 2 * padding)), 0.04 * RATE)
    slow = gaussian_filter1d(walk, 2 * RATE)[padding:-padding]
    fast = (walk - gaussian_filter1d(walk, STEP * RATE))[padding:-padding]
    starts = fast[: count - step : step]
    windows = fast[: len(starts) * step].reshape(len(starts), step)
    excursion = np.abs(windows - starts[:, None]).max(1).mean()
    slow -= slow.mean()
    return reach * (rng.uniform(0.05, 1) * fast / excursion + 3 * slow / np.abs(slow).max())
