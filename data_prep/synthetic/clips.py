"""Synthetic micro-expressions: the default data set, and the reference for measurements.

Many subjects, made from one photograph (`subject`), make small, short movements of known
action units (`motion`). A clip runs from rest through onset, apex and offset back to rest.
The classes are distributions over overlapping sets of action units. The clips also contain blinks,
drift of the head, stray movements, flicker and sensor noise. These do not depend on the class,
and neither does the appearance. The true motion of every pixel is known.

The scores of a network on these clips show that the program works. They say nothing about SMIC,
SAMM or CASME II: an accuracy on these clips is not an accuracy on people.

    python -m data_prep.synthetic.clips --out clips

writes the clips with their labels, landmarks and true motion as files.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import config
from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.synthetic import motion as synthetic_motion
from data_prep.synthetic import subject as synthetic_subject
from data_prep.synthetic.motion import CLASSES, Motion, Timing

NAME = "synthetic"
VERSION = 1  # Version of the generator. Raise it when the same spec gives other clips.
EXPRESSION, NUISANCE, NOISE = 1, 2, 3  # Random streams of a clip.
ORDER = 4  # Random stream of a subject's labels.
ROUNDS = 30  # Maximum number of iterations to invert a displacement field.
SHEET = "labels.csv"
COLUMNS = ("clip", "subject", "label", "onset", "apex", "offset", "fps", "path")


@dataclasses.dataclass(frozen=True)
class Spec:
    """Specification of synthetic clips, with the fields of `data_prep.config.synthetic`."""

    seed: int
    subjects: int
    clips_per_subject: int
    size: int
    fps: float
    amplitude: tuple[float, float]

    def __post_init__(self):
        low, high = self.amplitude
        checks = (
            (self.seed >= 0, "seed must not be negative"),
            (self.subjects >= 1 and self.clips_per_subject >= 1, "there must be one clip or more"),
            (self.size >= 64, "size must be 64 px or more, to show the features of a face"),
            (self.fps >= 25, "fps must be 25 or more, so that a movement has frames"),
            (0 <= low <= high, "amplitude must be (lowest, highest) in px, not negative"),
        )
        for is_valid, remedy in checks:
            if not is_valid:
                raise UserError(f"config.synthetic: {remedy}. It is {self}.")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A clip that can be generated.

    Attributes:
      spec: Specification of the set of clips.
      subject: Number of the subject.
      clip: Number of the clip within the subject.
      label: Class.
    """

    spec: Spec
    subject: int
    clip: int
    label: str

    @property
    def subject_id(self) -> str:
        """Name of the subject, 's00' and so on."""
        return f"s{self.subject:02d}"

    @property
    def clip_id(self) -> str:
        """Name of the clip within its subject, '00' and so on."""
        return f"{self.clip:02d}"

    @property
    def name(self) -> str:
        """Name of the clip, `synthetic/subject/clip`."""
        return f"{NAME}/{self.subject_id}/{self.clip_id}"

    @property
    def key(self) -> str:
        """All inputs that determine the pixels and the label of the clip."""
        spec = self.spec
        return (
            f"{self.name} v{VERSION} seed={spec.seed} size={spec.size} fps={spec.fps} "
            f"amplitude={spec.amplitude} label={self.label}"
        )

    def rng(self, stream: int) -> np.random.Generator:
        """Return the random generator of a stream of this clip, independent of all others."""
        return np.random.default_rng([self.spec.seed, self.subject, self.clip + 1, stream])


@dataclasses.dataclass(frozen=True)
class _Scene:
    """Random choices of a clip, made before its pixels are rendered."""

    timing: Timing
    motion: Motion
    pose: np.ndarray  # [2, 3], from pixels of the frame to pixels of the subject's canvas.
    landmarks: np.ndarray
    units: dict[int, float]


class SyntheticSource:
    """Source of synthetic clips: the same bytes for the same spec, in any order.

    Args:
      spec: Any object with the fields of `data_prep.config.synthetic`.

    Raises:
      UserError: A field has an impossible value.
    """

    name = NAME
    class_names = CLASSES

    def __init__(self, spec: Any):
        low, high = spec.amplitude
        self.spec = Spec(
            seed=int(spec.seed),
            subjects=int(spec.subjects),
            clips_per_subject=int(spec.clips_per_subject),
            size=int(spec.size),
            fps=float(spec.fps),
            amplitude=(float(low), float(high)),
        )

    @classmethod
    def from_config(cls, config: Any) -> SyntheticSource:
        """Create the source that the section `synthetic` of a configuration describes."""
        return cls(config.synthetic)

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """Return the classes in the order of their indices, the same for every `config`."""
        return cls.class_names

    def entries(self) -> list[Entry]:
        """Return every clip of the spec, by subject.

        Each subject has all classes equally often, or nearly so.
        """
        return [
            Entry(self.spec, subject, clip, label)
            for subject in range(self.spec.subjects)
            for clip, label in enumerate(_labels(self.spec, subject))
        ]

    def load(self, entry: Entry) -> Clip:
        """Make the clip, with RGB uint8 frames and the true landmarks of the onset frame."""
        scene = _scene(entry)
        return Clip(
            frames=_render(entry, scene),
            fps=entry.spec.fps,
            onset=scene.timing.onset,
            apex=scene.timing.apex,
            offset=scene.timing.offset,
            subject=entry.subject_id,
            clip_id=entry.clip_id,
            label=entry.label,
            emotion=entry.label,
            dataset=NAME,
            landmarks=scene.landmarks,
        )

    def motion(self, entry: Entry) -> np.ndarray:
        """Return the true motion of expression, head, blinks and stray movements.

        Returns:
          Displacement of each pixel of the onset frame in every frame, (right, down) in px, float16
          `[t, h, w, 2]`. It is 0 in the onset frame.
        """
        return _displacements(_scene(entry).motion)

    def apex_motion(self, entry: Entry) -> np.ndarray:
        """Return the true motion in the apex frame alone, float32 `[h, w, 2]`."""
        scene = _scene(entry)
        return scene.motion.displacement(scene.timing.apex).astype(np.float32)

    def landmarks(self, entry: Entry) -> np.ndarray:
        """Return the true landmarks of the onset frame, `[68, 2]` (x, y) in px."""
        return _scene(entry).landmarks

    def action_unit_motion(self, entry: Entry) -> np.ndarray:
        """Return the true motion of the expression alone, otherwise as `motion`."""
        motion = _scene(entry).motion
        expression_only = dataclasses.replace(
            motion,
            fields=motion.fields[:1],
            courses=motion.courses[:1],
            blink=np.zeros_like(motion.blink),
            drift=np.zeros_like(motion.drift),
        )
        return _displacements(expression_only)

    def action_units(self, entry: Entry) -> dict[int, float]:
        """Return the clip's action units and their intensities, 0.4 to 1."""
        return _scene(entry).units


def _labels(spec: Spec, subject: int) -> Iterator[str]:
    rng = np.random.default_rng([spec.seed, subject, 0, ORDER])
    classes = rng.permutation(len(CLASSES))  # The first of these get the clips that are left over.
    order = rng.permutation(np.resize(classes, spec.clips_per_subject))
    return (CLASSES[label] for label in order)


def _displacements(motion: Motion) -> np.ndarray:
    frames = range(motion.courses.shape[1])
    return np.stack([motion.displacement(frame).astype(np.float16) for frame in frames])


def _scene(entry: Entry) -> _Scene:
    """Draw the random choices of a clip.

    Only the displacement field of the expression depends on the label.
    """
    spec, rng = entry.spec, entry.rng(NUISANCE)
    person = synthetic_subject.subject(spec.seed, entry.subject, spec.size)
    pose = draw_pose(rng, spec.size, person.canvas.shape[0])
    landmarks = (person.landmarks - pose[:, 2]) @ np.linalg.inv(pose[:, :2]).T
    timing = synthetic_motion.timing(rng, spec.fps)
    amplitude = rng.uniform(*spec.amplitude)
    arguments = (rng, landmarks, timing, spec.fps, spec.size)
    drift = synthetic_motion.head_drift(rng, timing, spec.fps, spec.size)
    turn_fields, turn_courses = synthetic_motion.head_turn(*arguments)
    stray_field, stray_course = synthetic_motion.distraction(*arguments)
    lids, blink = synthetic_motion.blink(*arguments)
    units, field = synthetic_motion.expression(
        entry.rng(EXPRESSION), entry.label, landmarks, spec.size
    )
    field = synthetic_motion.limit_field(field, amplitude, synthetic_motion.STEEPEST)
    course = synthetic_motion.expression_course(timing)
    motion = Motion(
        fields=np.stack([field, *turn_fields, stray_field]).astype(np.float32),
        courses=np.stack([course, *turn_courses, stray_course]).astype(np.float32),
        lids=lids.astype(np.float32),
        blink=blink.astype(np.float32),
        drift=drift.astype(np.float32),
        centre=landmarks[27].astype(np.float32),
    )
    return _Scene(timing, motion, pose, landmarks, units)


def draw_pose(rng: np.random.Generator, size: int, side: int) -> np.ndarray:
    """Draw the transform `[2, 3]` from a clip's frames to the canvas of its subject.

    The frames are a little shifted, turned and scaled.

    Args:
      rng: Random generator.
      size: Side of the frames, px.
      side: Side of the canvas, px.
    """
    turn, zoom = np.radians(rng.uniform(-4, 4)), 1 + rng.uniform(-0.05, 0.04)
    shift = rng.uniform(-0.025, 0.025, 2) * size
    cosine, sine = np.array([np.cos(turn), np.sin(turn)]) * zoom * synthetic_subject.OVERSAMPLE
    turned = np.array([[cosine, -sine], [sine, cosine]])
    return np.c_[turned, (side - 1) / 2 + turned @ (shift - (size - 1) / 2)]


def _render(entry: Entry, scene: _Scene) -> np.ndarray:
    """Render the frames, uint8 `[t, h, w, 3]`."""
    size, rng = entry.spec.size, entry.rng(NOISE)
    canvas = synthetic_subject.subject(entry.spec.seed, entry.subject, size).canvas
    light = draw_light(rng, scene.timing, entry.spec.fps)
    shot, read = rng.uniform(0.004, 0.02), rng.uniform(0.5, 1.5)
    grid = synthetic_motion.pixels(size)
    backward = np.zeros_like(grid)
    frames = np.empty((scene.timing.count, size, size, 3), np.uint8)
    for frame, gain in enumerate(light):
        backward = invert_displacement(scene.motion.displacement(frame), grid, backward)
        points = cv2.transform(grid + backward, scene.pose).astype(np.float32)
        image = gain * synthetic_subject.sample(canvas, points)
        image = np.maximum(image, 0)  # Bicubic interpolation can fall below black.
        noise = rng.standard_normal(image.shape, np.float32)
        image += noise * np.sqrt(np.float32(shot) * image + np.float32(read**2))
        frames[frame] = np.clip(np.rint(image), 0, 255)
    return frames


def draw_light(rng: np.random.Generator, timing: Timing, fps: float) -> np.ndarray:
    """Draw the relative brightness of each frame, `[t]`: mains hum and slow flicker."""
    seconds = np.arange(timing.count) / fps
    mains = rng.uniform(0, 0.008) * np.sin(2 * np.pi * (99.3 * seconds + rng.random()))
    slow = rng.uniform(0, 0.012) * np.sin(2 * np.pi * (rng.uniform(1, 6) * seconds + rng.random()))
    return (rng.uniform(0.93, 1.05) * (1 + mains + slow)).astype(np.float32)


def invert_displacement(forward: np.ndarray, grid: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Invert a displacement field by fixed-point iteration.

    Args:
      forward: Displacement from each pixel of the onset frame to another frame, `[h, w, 2]` px.
      grid: (x, y) of every pixel, `[h, w, 2]`.
      backward: First guess of the result, such as the result for the previous frame.

    Returns:
      Displacement from each pixel of the other frame to the onset frame, `[h, w, 2]` px.
    """
    forward = forward.astype(np.float32)
    for _ in range(ROUNDS):
        sampled = synthetic_subject.sample(forward, grid + backward, cv2.INTER_LINEAR)
        change = float(np.abs(sampled + backward).max())
        backward = backward - 0.7 * (sampled + backward)  # Damped, or steep parts would overshoot.
        if change < 0.01:
            break
    return backward


def write(source: SyntheticSource, folder: Path) -> None:
    """Write every clip as PNG frames, with a sheet of labels and the true motion.

    Each clip has a file `truth.npz` that holds the landmarks `[68, 2]` of the onset frame, and
    motion and action_unit_motion, float16 `[t, h, w, 2]`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / SHEET, "w", newline="", encoding="utf-8") as sheet:
        rows = csv.writer(sheet)
        rows.writerow(COLUMNS)
        for entry in source.entries():
            rows.writerow(_write_clip(source, entry, folder))


def _write_clip(source: SyntheticSource, entry: Entry, folder: Path) -> tuple:
    clip = source.load(entry)
    path = Path(clip.subject) / clip.clip_id
    (folder / path).mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(clip.frames):
        file = folder / path / f"{index:04d}.png"
        if not cv2.imwrite(str(file), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)):
            raise UserError(
                f"{file}: cannot be written. Fix: give another --out, or free disk space."
            )
    np.savez_compressed(
        folder / path / "truth.npz",
        landmarks=np.asarray(clip.landmarks),
        motion=source.motion(entry),
        action_unit_motion=source.action_unit_motion(entry),
    )
    timing = (clip.onset, clip.apex, clip.offset, clip.fps)
    return (clip.clip_id, clip.subject, clip.label, *timing, path.as_posix())


def main(arguments: list[str] | None = None) -> int:
    """Write the clips of a spec and return the exit status: 2 for an impossible spec."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.synthetic", description=write.__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    for field, default in config.synthetic().items():
        is_pair = isinstance(default, tuple)
        kind, count = (float, 2) if is_pair else (type(default), None)
        parser.add_argument(f"--{field}", type=kind, nargs=count, default=default)
    options = parser.parse_args(arguments)
    try:
        source = SyntheticSource(options)
        write(source, options.out)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(source.entries())} clips in {options.out}")
    return 0
