"""The speed of a model on videos: watching, classifying movements, drawing reasons.

    python -m benchmarks.predict MODEL [VIDEO ...]

MODEL is an exported model, VIDEO a file; without a file a synthetic video is drawn. Each video is
watched as by `python -m mser_jax.predict`: it is decoded, dlib finds the face, movements are
spotted. Then every movement is classified (magnification, key frames, flow, network), and the
reason page is written. Loading and compilation come first and are not timed. Times are wall-clock
times.
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
ROUNDS = 3  # The median of the rounds is reported.


class Timings(NamedTuple):
    """Seconds for watching a video, and for classifying and explaining all its movements."""

    watch: float
    classify: float
    explain: float


def main() -> None:
    """Parse the flags and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the synthetic video")
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
    movements, frames, fps = _watch(model, video)
    page = folder / "reason.html"

    def explain(movement: ClassifiedMovement) -> None:
        reasons.write(page, model, movement, title=video.name, faces=True)

    classified = [model.classify(movement) for movement in movements]  # Compiles, too.
    for movement in classified[:1]:
        explain(movement)
    timings = Timings(
        _median(lambda: _watch(model, video)),
        _median(lambda: [model.classify(movement) for movement in movements]),
        _median(lambda: [explain(movement) for movement in classified]),
    )
    duration, count = frames / fps, len(movements)
    cells = [
        video.name,
        frames,
        count,
        f"{frames / timings.watch:.0f}",
        f"{duration / timings.watch:.1f}",
        f"{count / timings.classify:.2f}" if count else "",
        f"{count / timings.explain:.2f}" if count else "",
        f"{duration / sum(timings):.1f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _watch(model: Model, video: Path) -> tuple[list[SpottedMovement], int, float]:
    """Spot the movements of a video; return them, its number of frames and its rate."""
    stream = open_stream(video)
    watcher = Watcher(model.recipe, stream.fps)
    movements = [movement for _, frame in stream for movement in watcher.update(frame)]
    movements += watcher.end()
    return movements, watcher.frames_seen, stream.fps


def _median(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[ROUNDS // 2]


if __name__ == "__main__":
    main()
