"""How many planted expressions are found in longer synthetic videos, and how well they are marked.

    taskset -c 0 python -m benchmarks.spotting

A video is watched as a user's is: dlib finds the face, and nothing is known of what is planted. An
interval counts as found when it and the planted one share at least half of what they cover together
(the rule of the MEGC spotting challenges). The seed is that of no configuration and no test; what
`data_prep.spotting.spotter` holds was chosen on others. In every video there are blinks, a
wandering head, flicker and noise. "Strays" are local movements that rise and fall as an expression
does and are counted as false: no spotter can tell them from one.
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

SEED = 80_808  # of no configuration and no test
RATES = (100.0, 30.0)
BANDS = ((0.3, 0.6), (0.6, 1.0), (1.0, 1.7), (1.7, 3.0), (0.3, 3.0))  # px of a frame of 320
KINDS = {
    "expressions": {},
    "expressions and strays": {"strays": True},
    "no expression": {"amplitude": None},
}
HIT = 0.5  # of the union of two intervals that they share
MARKS = ("onset", "apex", "offset")


@dataclasses.dataclass(frozen=True)
class SpottedInterval:
    """The marks of an interval that was spotted, s."""

    onset: float
    apex: float
    offset: float


@dataclasses.dataclass(frozen=True)
class Video:
    """What a video holds, and what was found in it."""

    seconds: float
    pairs: list[tuple[PlantedExpression, SpottedInterval | None]]
    false_positives: int


def main() -> None:
    """Parse the flags and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=16.0, help="of a video")
    parser.add_argument("--toy", action="store_true", help="one short video, to see that it runs")
    flags = parser.parse_args()
    if flags.toy:
        flags.subjects, flags.seconds = 1, 5.0
    cv2.setNumThreads(1)
    watched = {
        (fps, kind): [
            _watch(subject, flags.seconds, fps, kind) for subject in range(flags.subjects)
        ]
        for fps in RATES
        for kind in KINDS
    }
    print(timing.heading("CPU", ["numpy", "opencv-python"]), end="\n\n")
    print(f"Seed {SEED}; {flags.subjects} subjects, of each {flags.seconds:g} s a row.\n")
    print(timing.table(list(_scores(watched))), end="\n\n")
    print(timing.table(list(_errors(watched))))


def _watch(subject: int, seconds: float, fps: float, kind: str) -> Video:
    video = LongVideo(seed=SEED, subject=subject, seconds=seconds, fps=fps, **KINDS[kind])
    watcher, spotted = Watcher(config.recipe().to_dict(), fps), []
    for frame in video:
        spotted += watcher.update(frame)
    spotted += watcher.end()
    clips = [movement.clip for movement in spotted]
    found = [
        SpottedInterval(*((clip.first + getattr(clip, mark)) / fps for mark in MARKS))
        for clip in clips
    ]
    pairs = [(planted, _best(planted, found)) for planted in video.expressions]
    hits = {id(match) for _, match in pairs if match is not None}
    return Video(seconds, pairs, len(found) - len(hits))


def _best(planted: PlantedExpression, intervals: list[SpottedInterval]) -> SpottedInterval | None:
    return next((interval for interval in intervals if _overlap(planted, interval) >= HIT), None)


def _overlap(planted: PlantedExpression, spotted: SpottedInterval) -> float:
    """The intersection of two intervals over their union."""
    both = min(planted.offset, spotted.offset) - max(planted.onset, spotted.onset)
    return max(0.0, both) / (
        max(planted.offset, spotted.offset) - min(planted.onset, spotted.onset)
    )


def _scores(results: dict[tuple[float, str], list[Video]]) -> Iterator[tuple[object, ...]]:
    """The first table: what is found, and what is found that is not there."""
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


def _errors(results: dict[tuple[float, str], list[Video]]) -> Iterator[tuple[object, ...]]:
    """The second table: by amplitude, without strays; the errors are those of the hits."""
    yield (
        *("frames a second", "amplitude, px", "planted", "recall"),
        *(f"{mark}, ms: mean (median)" for mark in MARKS),
    )
    for fps in RATES:
        pairs = [pair for video in results[fps, "expressions"] for pair in video.pairs]
        for low, high in BANDS:
            some = [pair for pair in pairs if low <= pair[0].amplitude <= high]
            hits = [(planted, match) for planted, match in some if match is not None]
            yield (
                *(f"{fps:g}", f"{low:g} to {high:g}", len(some)),
                f"{len(hits) / max(1, len(some)):.2f}",
                *(_error(hits, mark) for mark in MARKS),
            )


def _error(hits: list[tuple[PlantedExpression, SpottedInterval]], mark: str) -> str:
    if not hits:
        return ""
    errors = [abs(getattr(match, mark) - getattr(planted, mark)) * 1e3 for planted, match in hits]
    return f"{np.mean(errors):.0f} ({np.median(errors):.0f})"


if __name__ == "__main__":
    main()
