"""How long a training will take, from a few of its steps."""

import time
from collections.abc import Callable
from typing import Any

import jax

from mser_jax import planning
from mser_jax.feed import Feed
from mser_jax.train import Trainer

_STEPS = 2  # that are timed, after one that is not


def seconds(trainer: Trainer, feed: Feed) -> float:
    """Seconds of the whole training and its compilation, from steps of one fold a device.

    Args:
      trainer: of all folds.
      feed: of the clips.
    """
    few = trainer.rounds(trainer.mesh.devices.size)[0]
    compiling, program = _timed(lambda: planning.compile_steps(few, feed))
    (window,) = feed.windows(few.schedule(0), 0, few.steps)
    weights = few.class_weights()

    def steps(count: int) -> object:
        carried = few.start(), few.no_totals()
        for _ in range(count):
            carried = program.run(
                *carried, window.schedule, weights, few.call(0, 0, 1), window.clips
            )
        return jax.block_until_ready(carried)

    steps(1)  # what a first call does besides
    one = _timed(lambda: steps(1))[0]
    more = _timed(lambda: steps(1 + _STEPS))[0]
    step = max(more - one, 0) / _STEPS
    rounds = -(-len(trainer.folds) // trainer.mesh.devices.size)
    return compiling + step * rounds * trainer.steps * trainer.settings.epochs


def _timed(make: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    made = make()
    return time.perf_counter() - began, made
