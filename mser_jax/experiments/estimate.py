"""How long a model will take, from a little of its work."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mser_jax.data.feed import Feed
from mser_jax.data.folds import Fold
from mser_jax.train import planning
from mser_jax.train.trainer import Trainer

_MIN_SECONDS, _MAX_STEPS = 1.0, 20  # seconds of steps that are timed, and how many of them


def training_seconds(trainer: Trainer, feed: Feed) -> float:
    """Seconds of the whole training and its compilation, from steps of one fold a device.

    Args:
      trainer: of all folds.
      feed: of the clips.
    """
    few = trainer.rounds(trainer.mesh.devices.size)[0]
    compiling, program = _time_call(lambda: planning.compile_steps(few, feed))
    (window,) = feed.windows(few.schedule(0), 0, few.steps)
    weights, call = few.class_weights(), few.step_range(0, 0, 1)
    carried = few.init_state(), few.zero_metrics()

    def step() -> None:
        nonlocal carried
        carried = program.run(*carried, window.schedule, weights, call, window.clips)
        jax.block_until_ready(carried)

    step()  # what a first call does besides
    taken: list[float] = []
    while sum(taken) < _MIN_SECONDS and len(taken) < _MAX_STEPS:
        taken.append(_time_call(step)[0])
    rounds = -(-len(trainer.folds) // trainer.mesh.devices.size)
    steps = rounds * trainer.steps * trainer.settings.epochs
    return compiling + steps * float(np.median(taken))


def fitting_seconds(fit: Callable[[Sequence[Fold]], object], folds: Sequence[Fold]) -> float:
    """Seconds of fitting all folds, from a few of them.

    Args:
      fit: fits the folds that it is given.
      folds: all of them.
    """
    some = min(3, len(folds))
    fit(folds[:1])  # what a first call does besides
    one, more = (_time_call(lambda count=count: fit(folds[:count]))[0] for count in (1, some))
    each = max(more - one, 0) / max(1, some - 1)
    return one + each * (len(folds) - 1)


def _time_call(function: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    made = function()
    return time.perf_counter() - began, made
