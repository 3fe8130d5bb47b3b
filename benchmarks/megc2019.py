"""STSTNet over the 68 subjects of MEGC 2019 as published: our engine and PyTorch.

    taskset -c 0 python -m benchmarks.megc2019
    taskset -c 0 python -m benchmarks.megc2019 --epochs 10 --folds 8

Some epochs of some folds are timed and scaled to 800 epochs of 68 folds. The data are 442 clips of
noise, 28x28x3, in batches of up to 256. "As published" is the authors' loop of
github.com/christy1206/STSTNet: plain Adam, a DataLoader, and a prediction for the test subject
after every epoch; ours predicts only at the end. On a CPU the times are CPU time. PyTorch's network
is the twin in tests/helpers; without PyTorch its rows are left out.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import timing, training
from benchmarks.training import Run
from mser_jax import parallel
from mser_jax.data import folds as folding
from mser_jax.data.augment import Clips, View
from mser_jax.data.feed import Resident
from mser_jax.data.folds import Fold
from mser_jax.train.trainer import Settings, Trainer

try:
    from benchmarks import megc2019_torch
except ImportError:
    megc2019_torch: Any = None

SIDE, CLIPS, SUBJECTS, EPOCHS, BATCH = 28, 442, 68, 800, 256
RATE = 5e-5
PUBLISHED = "PyTorch, as published"
OURS = "ours"


def main() -> None:
    """Parse the flags and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--epochs", type=int, default=5, help="epochs to time; the table is for 800"
    )
    parser.add_argument("--folds", type=int, default=4, help="folds to time; the table is for 68")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    flags = parser.parse_args()
    clips, batch = _clips(CLIPS), BATCH
    if flags.toy:
        clips, batch = _clips(12), 8
        flags.folds, flags.epochs, flags.rounds = 2, 1, 1
    subjects = np.arange(len(clips.labels)) % min(SUBJECTS, len(clips.labels) // 2)
    folds = folding.loso([f"{subject:02}" for subject in subjects])
    rows = _rows(clips, folds[: flags.folds], batch, flags)
    packages = ["jax", "jaxlib", "flax", *(["torch"] if megc2019_torch is not None else [])]
    print(timing.heading(jax.devices()[0].device_kind, packages), "Seed 0.", end="\n\n")
    print(timing.table(rows))


def _rows(
    clips: Clips, folds: Sequence[Fold], batch: int, flags: argparse.Namespace
) -> list[Sequence[object]]:
    runs = {OURS: _train_ours(clips, folds, batch, flags.epochs)}
    if megc2019_torch is not None:
        runs |= megc2019_torch.ways(clips, folds, batch, flags.epochs, RATE)
    seconds = timing.side_by_side(runs, flags.rounds, timing.clock(jax.default_backend()))
    num_clips = sum(len(fold.train) for fold in folds) * flags.epochs
    reference = PUBLISHED if PUBLISHED in seconds else OURS
    rows: list[Sequence[object]] = [
        ("way", "us a clip and step", "s in all", "h in all", f"times as fast as: {reference}")
    ]
    for name, duration in seconds.items():
        total = duration * SUBJECTS / len(folds) * EPOCHS / flags.epochs
        ratio = f"{seconds[reference] / duration:.1f}"
        rows.append(
            (
                name,
                f"{1e6 * duration / num_clips:.1f}",
                f"{total:.0f}",
                f"{total / 3600:.2f}",
                ratio,
            )
        )
    return rows


def _clips(count: int) -> Clips:
    """Make clips of noise."""
    pixels = np.random.default_rng(0).integers(256, size=(count, 1, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int32) % training.CLASSES
    return Clips(pixels, np.ones(count, np.float32), labels)


def _train_ours(clips: Clips, folds: Sequence[Fold], batch: int, epochs: int) -> Run:
    """Create a run of some epochs of all folds; it continues where the last one ended.

    Drawing the order of the clips is part of the run.
    """
    settings = Settings(
        epochs=EPOCHS, batch_size=batch, learning_rate=RATE, augment="none", checkpoint_every=1
    )
    trainer = Trainer.create(
        folds,
        network=training.ststnet(SIDE),
        view=View(SIDE, ("original",), ("strain", "v", "u"), images=True),
        settings=settings,
        heads=1,
        classes=training.CLASSES,
        mesh=parallel.fold_mesh(jax.devices()[:1]),
        lift=parallel.choose_lift("auto"),
    )
    feed = Resident(clips, trainer.mesh)
    compiled, states = training.program(trainer, feed), [trainer.init_state()]

    def run() -> None:
        for epoch in range(epochs):
            (window,) = feed.windows(trainer.schedule(epoch), 0, trainer.steps)
            steps, metrics = trainer.step_range(epoch, 0, trainer.steps), trainer.zero_metrics()
            states[0], _ = compiled(states[0], metrics, window.schedule, None, steps, window.clips)
        jax.block_until_ready(states)

    return run


if __name__ == "__main__":
    main()
