"""The recall and the marks of planted expressions spotted in longer synthetic videos.

    taskset -c 0 python -m benchmarks.spotting

A video is watched like a user's: dlib finds the face, and the planted expressions are unknown to
the spotter. An expression counts as found if the intersection of its interval with a spotted one is
at least half of their union, the rule of the MEGC spotting challenges. No configuration or test
uses this seed; the constants of `data_prep.spotting.spotter` were tuned on other seeds. Every video
has blinks, a wandering head, flicker and noise. "Strays" are local movements that rise and fall
like an expression. They count as false positives, although no spotter can tell them apart.
"""

import argparse
import dataclasses
from collections.abc import Iterator

import numpy as np

from benchmarks import timing
from data_prep import config
from data_prep.common.cv import cv2
from data_prep.spotting.watcher import Watcher
from data_prep.synthetic.long_video import LongVideo, PlantedExpression

SEED = 80_808  # No configuration or test uses this seed.
RATES = (100.0, 30.0)
# Ranges of amplitude, px of a frame 320 px wide.
BANDS = ((0.3, 0.6), (0.6, 1.0), (1.0, 1.7), (1.7, 3.0), (0.3, 3.0))
KINDS = {
    "expressions": {},
    "expressions and strays": {"strays": True},
    "no expression": {"amplitude": None},
}
HIT = 0.5  # Minimum intersection over union of a planted and a spotted interval.
MARKS = ("onset", "apex", "offset")


@dataclasses.dataclass(frozen=True)
class SpottedInterval:
    """The marks of a spotted interval, s."""

    onset: float
    apex: float
    offset: float


@dataclasses.dataclass(frozen=True)
class Video:
    """The result for one video.

    Attributes:
      seconds: Length of the video.
      pairs: Each planted expression with the interval that hits it, or None.
      false_positives: Number of spotted intervals that hit no expression.
    """

    seconds: float
    pairs: list[tuple[PlantedExpression, SpottedInterval | None]]
    false_positives: int


def main() -> None:
    """Parse the flags and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=16.0, help="length of a video")
    parser.add_argument("--toy", action="store_true", help="one short video, to see that it runs")
    flags = parser.parse_args()
    if flags.toy:
        flags.subjects, flags.seconds = 1, 5.0
    cv2.setNumThreads(1)
    results = {
        (fps, kind): [
            _watch(subject, flags.seconds, fps, kind) for subject in range(flags.subjects)
        ]
        for fps in RATES
        for kind in KINDS
    }
    print(timing.heading("CPU", ["numpy", "opencv-python"]), end="\n\n")
    print(f"Seed {SEED}; {flags.subjects} subjects, {flags.seconds:g} s of each per row.\n")
    print(timing.table(list(_scores(results))), end="\n\n")
    print(timing.table(list(_error_rows(results))))


def _watch(subject: int, seconds: float, fps: float, kind: str) -> Video:
    video = LongVideo(seed=SEED, subject=subject, seconds=seconds, fps=fps, **KINDS[kind])
    watcher, spotted = Watcher(config.recipe().to_dict(), fps), []
    for frame in video:
        spotted += watcher.update(frame)
    spotted += watcher.end()
    clips = [movement.clip for movement in spotted]
    intervals = [
        SpottedInterval(*((clip.first + getattr(clip, mark)) / fps for mark in MARKS))
        for clip in clips
    ]
    pairs = [(planted, _best(planted, intervals)) for planted in video.expressions]
    hits = {id(match) for _, match in pairs if match is not None}
    return Video(seconds, pairs, len(intervals) - len(hits))


def _best(planted: PlantedExpression, intervals: list[SpottedInterval]) -> SpottedInterval | None:
    return next((interval for interval in intervals if _overlap(planted, interval) >= HIT), None)


def _overlap(planted: PlantedExpression, spotted: SpottedInterval) -> float:
    """Compute the intersection over union of two intervals."""
    intersection = min(planted.offset, spotted.offset) - max(planted.onset, spotted.onset)
    return max(0.0, intersection) / (
        max(planted.offset, spotted.offset) - min(planted.onset, spotted.onset)
    )


def _scores(results: dict[tuple[float, str], list[Video]]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of the first table: recall, precision, F1 and false positives."""
    yield ("frames a second", "video", "planted", "recall", "precision", "F1", "false a minute")
    for (fps, kind), videos in results.items():
        pairs = [pair for video in videos for pair in video.pairs]
        hits = sum(match is not None for _, match in pairs)
        false = sum(video.false_positives for video in videos)
        minutes = sum(video.seconds for video in videos) / 60
        shares = (hits / len(pairs), hits / max(1, hits + false)) if pairs else ()
        f1 = (2 * hits / (len(pairs) + hits + false),) if pairs else ()
        texts = [f"{share:.2f}" for share in (*shares, *f1)] or [""] * 3
        yield (f"{fps:g}", kind, len(pairs), *texts, f"{false / minutes:.1f}")


def _error_rows(results: dict[tuple[float, str], list[Video]]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of the second table: recall and errors of the hits, by amplitude."""
    yield (
        *("frames a second", "amplitude, px", "planted", "recall"),
        *(f"{mark}, ms: mean (median)" for mark in MARKS),
    )
    for fps in RATES:
        pairs = [pair for video in results[fps, "expressions"] for pair in video.pairs]
        for low, high in BANDS:
            in_band = [pair for pair in pairs if low <= pair[0].amplitude <= high]
            hits = [(planted, match) for planted, match in in_band if match is not None]
            yield (
                *(f"{fps:g}", f"{low:g} to {high:g}", len(in_band)),
                f"{len(hits) / max(1, len(in_band)):.2f}",
                *(_error(hits, mark) for mark in MARKS),
            )


def _error(hits: list[tuple[PlantedExpression, SpottedInterval]], mark: str) -> str:
    if not hits:
        return ""
    errors = [abs(getattr(match, mark) - getattr(planted, mark)) * 1e3 for planted, match in hits]
    return f"{np.mean(errors):.0f} ({np.median(errors):.0f})"


if __name__ == "__main__":
    main()
