"""How fast a model answers a video: what watching costs, and what a movement does.

    python -m benchmarks.predict MODEL [VIDEO ...]

MODEL is an exported model, a VIDEO a file; without one a synthetic video is drawn and written. Each
is watched as `python -m mser_jax.predict` does it: decoded, the face found by dlib, movements
spotted; then every movement is classified (magnification, key frames, flow, network), and the
reason for it is drawn. What is compiled or loaded once (the start) is done before. Wall-clock time.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import timing
from data_prep.common.cv import cv2
from data_prep.spotting.found import SpottedMovement
from data_prep.spotting.watcher import Watcher
from data_prep.stages import landmarks
from data_prep.synthetic.long_video import LongVideo
from data_prep.video.stream import open_stream
from mser_jax import hosts, load
from mser_jax.predict.answers import ClassifiedMovement
from mser_jax.predict.explain import movement as reasons
from mser_jax.predict.model import Model

SEED, FPS, SIZE = 90_909, 30.0, 320
ROUNDS = 3  # of which the median is taken


class Timings(NamedTuple):
    """Seconds: of watching a video, and of its movements."""

    watch: float
    classify: float
    explain: float


def main() -> None:
    """Parse the flags and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the synthetic video")
    flags = parser.parse_args()
    hosts.use_compilation_cache()
    model = load(flags.model)
    with tempfile.TemporaryDirectory() as folder:
        videos = flags.videos or [_draw_video(Path(folder) / "synthetic.avi", flags.seconds)]
        rows = [_row(model, video, Path(folder)) for video in videos]
    print(timing.heading("CPU", ("jax", "opencv-python", "dlib-bin")), end="\n\n")
    print(
        "| video | frames | movements | frames/s watched | times real time, watched | clips/s | ",
        end="",
    )
    print("reasons/s | times real time, with all |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


def _draw_video(path: Path, seconds: float) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (SIZE, SIZE))
    for frame in LongVideo(seed=SEED, subject=0, seconds=seconds, fps=FPS, size=SIZE):
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def _row(model: Model, video: Path, folder: Path) -> str:
    landmarks.load_detector(model.recipe["face"]["model"])
    found, frames, fps = _watch(model, video)
    page = folder / "reason.html"

    def explain(each: ClassifiedMovement) -> None:
        reasons.write(page, model, each, title=video.name, faces=True)

    classified = [model.classify(each) for each in found]  # and compiled
    for each in classified[:1]:
        explain(each)
    taken = Timings(
        _median(lambda: _watch(model, video)),
        _median(lambda: [model.classify(each) for each in found]),
        _median(lambda: [explain(each) for each in classified]),
    )
    shown, count = frames / fps, len(found)
    cells = [
        video.name,
        frames,
        count,
        f"{frames / taken.watch:.0f}",
        f"{shown / taken.watch:.1f}",
        f"{count / taken.classify:.2f}" if count else "",
        f"{count / taken.explain:.2f}" if count else "",
        f"{shown / sum(taken):.1f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _watch(model: Model, video: Path) -> tuple[list[SpottedMovement], int, float]:
    """The movements of a video, how many frames it has, and how many a second."""
    stream = open_stream(video)
    watcher = Watcher(model.recipe, stream.fps)
    found = [each for _, frame in stream for each in watcher.update(frame)]
    found += watcher.end()
    return found, watcher.frames_seen, stream.fps


def _median(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[ROUNDS // 2]


if __name__ == "__main__":
    main()
