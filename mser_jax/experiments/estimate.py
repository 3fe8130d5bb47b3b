"""Estimates of the time that a model takes, from a first_round part of its work."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mser_jax.data.feed import Feed
from mser_jax.data.folds import Fold
from mser_jax.train import planning
from mser_jax.train.trainer import Trainer

_MIN_SECONDS, _MAX_STEPS = 1.0, 20  # time steps for this long, but no more than this many


def training_seconds(trainer: Trainer, feed: Feed) -> float:
    """Estimate the seconds of the whole training, including compilation.

    Steps of one fold per device are timed.

    Args:
      trainer: Trainer of all folds.
      feed: Feed of the clips.
    """
    first_round = trainer.rounds(trainer.mesh.devices.size)[0]
    compiling, program = _time_call(lambda: planning.compile_steps(first_round, feed))
    (window,) = feed.windows(first_round.schedule(0), 0, first_round.steps)
    class_weights, step_range = first_round.class_weights(), first_round.step_range(0, 0, 1)
    carried = first_round.init_state(), first_round.zero_metrics()

    def step() -> None:
        nonlocal carried
        carried = program.run(*carried, window.schedule, class_weights, step_range, window.clips)
        jax.block_until_ready(carried)

    step()  # the first call has extra work
    step_seconds: list[float] = []
    while sum(step_seconds) < _MIN_SECONDS and len(step_seconds) < _MAX_STEPS:
        step_seconds.append(_time_call(step)[0])
    rounds = -(-len(trainer.folds) // trainer.mesh.devices.size)
    steps = rounds * trainer.steps * trainer.settings.epochs
    return compiling + steps * float(np.median(step_seconds))


def fitting_seconds(fit: Callable[[Sequence[Fold]], object], folds: Sequence[Fold]) -> float:
    """Estimate the seconds of fitting all folds, by timing a few of them.

    Args:
      fit: Function that fits the folds it gets.
      folds: All folds.
    """
    timed = min(3, len(folds))
    fit(folds[:1])  # the first call has extra work
    first, all_timed = (_time_call(lambda n=n: fit(folds[:n]))[0] for n in (1, timed))
    per_fold = max(all_timed - first, 0) / max(1, timed - 1)
    return first + per_fold * (len(folds) - 1)


def _time_call(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result
