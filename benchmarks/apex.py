"""The error of the estimated apex on synthetic clips of known movement.

    taskset -c 0 python -m benchmarks.apex

No configuration uses this seed and these subjects: `data_prep.stages.apex` and its fields were
tuned on other seeds. A method gets onset and offset; the apex is hidden from it. Clips have 200
frames per second; a lower rate keeps every second frame. Synthetic apexes lie near the middle, so
the second table moves them: it skips frames of the rise or of the fall, or ends the clip before the
movement ends. TV-L1 is slow and appears only in the last rows of the first table.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import timing
from data_prep import config
from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.stages import apex, face
from data_prep.stages.flow import flow
from data_prep.synthetic import clips as synthetic

SEED = 50_507  # No configuration or test uses this seed.
FPS = 200.0
AMPLITUDES = ((0.3, 1.0), (1.0, 3.0))  # px of a frame 320 px wide.
MIDDLE = "middle frame"
MEASURES = ("error, frames", "ms", "ms more than the middle [95 %]")
HEAD = ("method", *MEASURES, "within 3 frames", "within 20 ms")

Method = Callable[[Clip], float]
View = Callable[[Clip], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A clip whose apex is hidden.

    Attributes:
      clip: Clip without its apex.
      apex: Frames from the start to the true apex.
    """

    clip: Clip
    apex: float


def main() -> None:
    """Parse the flags and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--clips", type=int, default=3, help="clips per subject and amplitude")
    parser.add_argument("--toy", action="store_true", help="two clips, to see that it runs")
    flags = parser.parse_args()
    if flags.toy:
        flags.subjects, flags.clips = 1, 1
    cv2.setNumThreads(1)
    clips = {pair: list(_clips(flags.subjects, flags.clips, pair)) for pair in AMPLITUDES}
    print(timing.heading("CPU", ["numpy", "opencv-python", "jax"]), end="\n\n")
    print(f"Seed {SEED}; {flags.subjects} subjects of {flags.clips} clips an amplitude.\n")
    print(timing.table(list(_by_rate(clips))), end="\n\n")
    print(timing.table(list(_by_course([clip for group in clips.values() for clip in group]))))


def _clips(subjects: int, clips_per_subject: int, amplitude: tuple[float, float]) -> Iterator[Clip]:
    """Yield the crops from onset to offset, as the full recipe makes them."""
    spec, recipe = config.synthetic(), config.recipe()
    spec.update(seed=SEED, subjects=subjects, clips_per_subject=clips_per_subject, fps=FPS)
    spec.update(size=320, amplitude=amplitude)  # The crop must not be larger than the face.
    source = synthetic.SyntheticSource(spec)
    sides = {"size": recipe.size, "margin": config.margin(recipe.size)}
    for entry in source.entries():
        yield face.crop(source.load(entry), **sides, **recipe.face)


def _by_rate(clips: dict[tuple[float, float], list[Clip]]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of the first table: frame rates and amplitudes."""
    yield ("frames a second", "amplitude, px", *HEAD)
    for step in (1, 2):
        for (low, high), group in clips.items():
            samples = [_sample(clip, _every_nth(step)(clip), step) for clip in group]
            for row in _rows(samples, METHODS | REFERENCE if step > 1 else METHODS):
                yield f"{FPS / step:g}", f"{low:g} to {high:g}", *row


def _by_course(clips: list[Clip]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of the second table: courses of the movement, all amplitudes."""
    yield ("course", "apex at", *HEAD)
    for name, view in COURSES.items():
        samples = [_sample(clip, view(clip)) for clip in clips]
        shares = [sample.apex / (len(sample.clip.frames) - 1) for sample in samples]
        low, high = np.quantile(shares, [0.05, 0.95])
        for row in _rows(samples, METHODS):
            yield name, f"{low:.2f} to {high:.2f}", *row


def _rows(samples: list[Sample], methods: dict[str, Method]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each method: its errors over the samples."""
    fps = samples[0].clip.fps
    subjects = np.array([sample.clip.subject for sample in samples])
    errors = {
        name: np.array([abs(method(sample.clip) - sample.apex) for sample in samples])
        for name, method in methods.items()
    }
    for name, frames in errors.items():
        difference = (frames - errors[MIDDLE]) * 1e3 / fps
        low, high = timing.interval(difference, subjects)
        yield (
            *(name, f"{frames.mean():.2f}", f"{frames.mean() * 1e3 / fps:.1f}"),
            "" if name == MIDDLE else f"{difference.mean():+.1f} [{low:+.1f}, {high:+.1f}]",
            f"{np.mean(frames <= 3):.0%}",
            f"{np.mean(frames * 1e3 / fps <= 20 + 1e-9):.0%}",
        )


def _sample(clip: Clip, indices: np.ndarray, step: int = 1) -> Sample:
    """Create a sample from some frames of a clip, at a rate `step` times lower."""
    assert clip.apex is not None
    apex_index = float(np.interp(clip.apex, indices, np.arange(len(indices))))
    marks = {"onset": 0, "apex": None, "offset": len(indices) - 1}
    frames = np.asarray(clip.frames)[indices]
    return Sample(
        dataclasses.replace(clip, frames=frames, fps=clip.fps / step, **marks), apex_index
    )


def _every_nth(step: int) -> View:
    return lambda clip: np.arange(clip.onset, clip.offset + 1, step)


def _course(rise: int, fall: int, end: float = 1.0) -> View:
    """Return a function that selects frames of a clip.

    Args:
      rise: Step between the frames up to the apex.
      fall: Step between the frames after the apex.
      end: Share of the fall that is kept.
    """

    def indices(clip: Clip) -> np.ndarray:
        assert clip.apex is not None
        end_index = clip.apex + round(end * (clip.offset - clip.apex))
        before = np.arange(clip.apex, clip.onset - 1, -rise)[::-1]
        return np.r_[before, np.arange(clip.apex + fall, end_index + 1, fall)]

    return indices


COURSES: dict[str, View] = {
    "as drawn": _course(1, 1),
    "rise 3 times as fast": _course(3, 1),
    "fall 3 times as fast": _course(1, 3),
    "marked to half of the fall": _course(1, 1, 0.5),
}


def _estimate(clip: Clip, rule: str) -> float:
    smoothing = config.recipe().apex.smoothing
    apex_index = apex.estimate(clip, rule=rule, smoothing=smoothing).apex
    assert apex_index is not None
    return float(apex_index)


def _frame_difference(clip: Clip) -> float:
    """Find the frame that differs most from the onset frame, pixel by pixel."""
    frames = np.asarray(clip.frames)
    return _peak(clip, np.abs(frames - frames[0]).mean(axis=(1, 2)))


def _estimate_by_tvl1(clip: Clip) -> float:
    """Estimate the apex as stage `apex` does, with TV-L1 in place of Farneback's flow."""
    fields = config.recipe().flow
    return _peak(
        clip,
        apex.deviation(clip, lambda first, second: flow(np.stack([first, second]), **fields)[0]),
    )


def _peak(clip: Clip, course: np.ndarray) -> float:
    return float(apex.peak(course, config.recipe().apex.smoothing * clip.fps))


METHODS: dict[str, Method] = {
    MIDDLE: functools.partial(_estimate, rule="middle"),
    "frame difference": _frame_difference,
    "flow (ours)": functools.partial(_estimate, rule="flow"),
}
REFERENCE: dict[str, Method] = {"the same with TV-L1": _estimate_by_tvl1}


if __name__ == "__main__":
    main()
