"""Which recipe recovers a known movement: magnification, order of stages, reference of the flow.

    taskset -c 0 python -m benchmarks.recovery

Synthetic clips go through the stages and the flow as the recipe has them; the flow of the apex is
compared with the true motion, seen in the crop. Three figures for every variant:

- error: mean endpoint distance in px in the action-unit area (where the expression's displacement
  is at least half of its longest). The flow is multiplied by one factor first, that of least
  squares for the variant and the range of movement: a magnified flow is longer by 1 + alpha where
  all goes well, and a network does not mind a factor;
- cosine between flow and truth over that area, clip by clip: direction and place without length;
- class: how often linear discriminant analysis finds the class of a subject that it has not seen,
  from the flow's means over the cells of a grid, divided by their root mean square.

Under 'previous' the flow of the apex is the sum of the steps to it, each read where the ones before
have led. Differences are paired by clip; the intervals are bootstraps over subjects.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from benchmarks import flow_clips, timing
from benchmarks.recovery_figures import (
    RANGES,
    TRUTH,
    Outcome,
    Variant,
    cosines,
    errors,
    hits,
    report,
)
from data_prep import config
from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.stages import face, flow, keyframes, magnify
from data_prep.synthetic import subject as synthetic_subject
from data_prep.synthetic.clips import SyntheticSource
from data_prep.synthetic.motion import pixels

ENLARGED = 1.41  # scale of a crop, times the frame's side over the input's: the synthetic faces'
AREA = 0.5  # of the longest displacement
CELLS = 8  # a side of the grid
ORDERS = (("magnify", "keyframes"), ("keyframes", "magnify"))


@dataclasses.dataclass(frozen=True)
class Sample:
    """A cropped clip and what is known of it.

    Attributes:
      clip: after the face stage.
      truth: `[S, S, 2]` px of the crop: where the pixels of the onset frame have gone at the apex.
      expression: as truth, with nothing but the expression.
    """

    clip: Clip
    truth: np.ndarray
    expression: np.ndarray


def main() -> None:
    """Parse the flags and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=4, help="of the clips; no default has it")
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--clips", type=int, default=8, help="of a subject; a multiple of 4")
    parser.add_argument("--size", type=int, default=256, help="side of a frame, px")
    parser.add_argument("--alphas", type=float, nargs="+", default=[2.0, 4.0, 8.0])
    parser.add_argument("--wavelength", type=float, help="of the magnification, px")
    parser.add_argument("--toy", action="store_true", help="small, to see that it runs")
    flags, recipe = parser.parse_args(), config.recipe()
    recipe.magnify.wavelength = flags.wavelength or recipe.magnify.wavelength
    if flags.toy:
        flags.subjects, flags.clips, flags.size, flags.alphas, recipe.size = 3, 4, 160, [4.0], 84
    rows = variants(flags.alphas)
    drawn = samples(recipe, flags.seed, flags.subjects, flags.clips, flags.size)
    total = flags.subjects * flags.clips
    outcomes = [outcome(sample, rows, recipe) for sample in tqdm(drawn, total=total, unit="clip")]
    print(timing.heading(jax.devices()[0].platform, ["jax", "numpy", "opencv-python"]))
    print(f"\n{total} clips of {flags.subjects} subjects. Recipe: {recipe.to_json()}\n")
    print(f"Error, px\n\n{report(errors, outcomes, rows, 3)}\n")
    print(f"Cosine\n\n{report(cosines, outcomes, rows, 3)}\n")
    print(f"Class found, %\n\n{report(hits, outcomes, [*rows, TRUTH], 0)}")


def variants(alphas: Sequence[float]) -> list[Variant]:
    """Every order with every amplification, without one, and both references of each."""
    magnified = [(stages, alpha) for stages in ORDERS for alpha in alphas]
    return [
        Variant(stages, alpha, reference)
        for stages, alpha in [(("keyframes",), 0.0), *magnified]
        for reference in ("first", "previous")
    ]


def samples(
    recipe: ConfigDict, seed: int, subjects: int, clips: int, size: int
) -> Iterator[Sample]:
    """Clips of every subject, the ranges of movement in turn."""
    per_pixel = size / (ENLARGED * recipe.size)
    spec = config.synthetic()
    spec.update(seed=seed, subjects=subjects, clips_per_subject=clips, size=size)
    sources = []
    for low, high in RANGES:
        spec.amplitude = (low * per_pixel, high * per_pixel)
        sources.append(SyntheticSource(spec))
    for index in range(subjects * clips):
        source = sources[index % len(RANGES)]
        yield sample(source, source.entries()[index], recipe)


def sample(source: SyntheticSource, entry: Any, recipe: ConfigDict) -> Sample:
    """Make a clip, cut out its face, and see its motion as the crop does."""
    clip = source.load(entry)
    size, margin = recipe.size, config.margin(recipe.size)
    matrix = face.align(np.asarray(clip.landmarks), size, margin)
    motions = [source.motion(entry)[clip.apex], source.action_unit_motion(entry)[clip.apex]]
    return Sample(
        face.crop(clip, size=size, margin=margin, **recipe.face),
        *[flow_clips.warp_to_crop(motion, matrix, size + 2 * margin) for motion in motions],
    )


def outcome(sample: Sample, rows: Sequence[Variant], recipe: ConfigDict) -> Outcome:
    """The flow of the apex in every variant."""
    fields = {TRUTH: sample.truth}
    for (stages, alpha), group in itertools.groupby(rows, lambda row: (row.stages, row.alpha)):
        frames = to_apex(sample.clip, stages, alpha, recipe)
        for row in group:
            fields[row] = apex_flow(frames, {**recipe.flow, "reference": row.reference})
    border = config.margin(recipe.size)
    window = np.s_[border:-border, border:-border]
    length = np.linalg.norm(sample.expression[window], axis=-1)
    area = length >= AREA * length.max()
    return Outcome(
        subject=sample.clip.subject,
        label=sample.clip.label,
        range=int(np.digitize(length.max(), [low for low, _ in RANGES[1:]])),
        area={row: field[window][area] for row, field in fields.items()},
        cells={row: cell_means(field[window]) for row, field in fields.items()},
    )


def to_apex(clip: Clip, stages: Sequence[str], alpha: float, recipe: ConfigDict) -> np.ndarray:
    """The key frames from the onset to the apex, after the stages."""
    for stage in stages:
        if stage == "magnify":
            clip = magnify.magnify(clip, **{**recipe.magnify, "alpha": alpha})
        else:
            clip = keyframes.select(clip, count=recipe.steps + 1, **recipe.keyframes)
    assert clip.apex is not None
    return np.asarray(clip.frames)[: clip.apex + 1]


def apex_flow(frames: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """The flow `[h, w, 2]` from the first frame to the last.

    Pair by pair, so that one program serves every number of frames.
    """
    if settings["reference"] == "first":
        return flow.flow(frames[[0, -1]], **settings)[0]
    grid = pixels(frames.shape[1])
    total = np.zeros_like(grid)
    for pair in itertools.pairwise(frames):
        step = flow.flow(np.stack(pair), **settings)[0]
        total += synthetic_subject.sample(step, grid + total, cv2.INTER_LINEAR)
    return total


def cell_means(field: np.ndarray) -> np.ndarray:
    """Means of `[h, w, 2]` over the cells of a grid, divided by their root mean square."""
    means = cv2.resize(field, (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()
    return means / np.sqrt(np.mean(means**2))


if __name__ == "__main__":
    main()
