"""The distance of each rule's key frames from the apex, on synthetic clips of known movement.

    taskset -c 0 python -m benchmarks.keyframes

No configuration uses this seed and these subjects. A rule gets onset and offset; the apex is hidden
from it. Its key frames are then compared with the true course of the expression, which rises from 0
at the onset to 1 at the apex and falls to 0 at the offset.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import timing
from data_prep import config
from data_prep.clip import Clip
from data_prep.stages import face, keyframes, magnify
from data_prep.synthetic import clips as synthetic
from data_prep.synthetic.motion import Timing, expression_course

SEED = 20_241  # No configuration or test uses this seed.
SETTINGS = (  # Name, rule, radius, whether the clip is magnified.
    ("uniform", "uniform", 0, False),
    ("TIM", "tim", 0, False),
    ("slices, r = 2", "slices", 2, False),
    ("slices, r = 0", "slices", 0, False),
    ("slices, r = 2, magnified", "slices", 2, True),
    ("slices, r = 0, magnified", "slices", 0, True),
)
HEAD = (
    *("frames a second", "key frames", "rule", "to the apex, frames", "ms"),
    *("ms more than uniform [95 %]", "90 % within, ms", "highest", "longest step"),
)


def main() -> None:
    """Parse the flags and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--clips", type=int, default=8, help="clips per subject")
    parser.add_argument("--fps", type=float, nargs="+", default=[100.0, 200.0])
    parser.add_argument("--counts", type=int, nargs="+", default=[17, 9])
    parser.add_argument("--toy", action="store_true", help="two clips, to see that it runs")
    flags = parser.parse_args()
    if flags.toy:
        flags.subjects, flags.clips, flags.fps = 2, 1, flags.fps[:1]
    rows: list[tuple[object, ...]] = [HEAD]
    for fps in flags.fps:
        clips = list(_clips(flags.subjects, flags.clips, fps))
        for count in flags.counts:
            rows += _rows(clips, count)
    print(timing.heading("CPU", ["numpy", "opencv-python"]), end="\n\n")
    print(
        f"Seed {SEED}; {flags.subjects} subjects of {flags.clips} clips a frame rate.", end="\n\n"
    )
    print(timing.table(rows))


def _clips(subjects: int, clips_per_subject: int, fps: float) -> Iterator[tuple[Clip, Clip]]:
    """Yield each clip's crop as the full recipe makes it, plain and magnified."""
    spec, recipe = config.synthetic(), config.recipe()
    spec.update(seed=SEED, subjects=subjects, clips_per_subject=clips_per_subject, fps=fps)
    spec.size = 320  # The crop must not be larger than the face.
    source = synthetic.SyntheticSource(spec)
    sides: dict[str, Any] = {"size": recipe.size, "margin": config.margin(recipe.size)}
    for entry in source.entries():
        crop = face.crop(source.load(entry), **sides, **recipe.face)
        yield crop, magnify.magnify(crop, **recipe.magnify)


def _rows(clips: list[tuple[Clip, Clip]], count: int) -> Iterator[tuple[object, ...]]:
    """Yield a row for each setting at one number of key frames."""
    figures = {
        name: np.array([_figures(pair[magnified], count, rule, radius) for pair in clips])
        for name, rule, radius, magnified in SETTINGS
    }
    subjects = np.array([crop.subject for crop, _ in clips])
    fps = clips[0][0].fps
    for name, columns in figures.items():
        frames, highest, longest = columns.mean(axis=0)
        difference = (columns - figures["uniform"])[:, 0] * 1e3 / fps
        low, high = timing.interval(difference, subjects)
        yield (
            *(f"{fps:g}", count, name, f"{frames:.2f}", f"{frames * 1e3 / fps:.1f}"),
            "" if name == "uniform" else f"{difference.mean():+.1f} [{low:+.1f}, {high:+.1f}]",
            f"{np.quantile(columns[:, 0], 0.9) * 1e3 / fps:.0f}",
            *(f"{highest:.3f}", f"{longest:.2f}"),
        )


def _figures(clip: Clip, count: int, rule: str, radius: int) -> tuple[float, float, float]:
    """Compare a rule's key frames with the movement.

    Returns:
      (distance, highest, longest): frames from the apex to the nearest key frame; highest value of
      the course at a key frame; longest step of the course between neighbouring key frames, which
      even steps would make 2 / (count - 1).
    """
    assert clip.apex is not None
    hidden = dataclasses.replace(clip, apex=None)
    positions = keyframes.select(hidden, count=count, rule=rule, radius=radius).positions
    assert positions is not None
    time = Timing(len(clip.frames), clip.onset, clip.apex, clip.offset)
    course = np.interp(positions, np.arange(time.count), expression_course(time))
    nearest = np.abs(positions - clip.apex).min()
    return float(nearest), float(course.max()), float(np.abs(np.diff(course)).max())


if __name__ == "__main__":
    main()
