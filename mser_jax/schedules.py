"""The learning rate of each epoch (4.2; the paper's is constant)."""

from collections.abc import Callable

import numpy as np
import optax


def _thirds(base: float, epochs: int) -> optax.Schedule:
    ends = (-(-part * epochs // 3) for part in (1, 2))  # rounded up
    return optax.piecewise_constant_schedule(base, dict.fromkeys(ends, 0.1))


def _decay(every: int, factor: float) -> Callable[[float, int], optax.Schedule]:
    return lambda base, epochs: optax.exponential_decay(base, every, factor, staircase=True)


SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda base, epochs: optax.constant_schedule(base),
    "cosine": optax.cosine_decay_schedule,
    "step": _thirds,
    "halves": _decay(10, 0.5),
    "tenths": _decay(1, 0.9),
}


def learning_rate(epoch: int, *, base: float, schedule: str, epochs: int, warmup: int) -> float:
    """The learning rate of an epoch, the same for all its steps.

    It is not counted in updates, because folds have different numbers of them.

    Args:
      epoch: counted from 0.
      base: the highest rate.
      schedule: over the epochs after the warm-up; 'constant', 'cosine' (half a wave from `base` to
        0, which would come just after the last epoch), 'step' (a tenth after one third of them, a
        hundredth after two), 'halves' (half after every ten of them, as RCN's authors have it) or
        'tenths' (a tenth less after each, as CapsuleNet's).
      epochs: how many there are in all; more than `warmup`.
      warmup: epochs before `base`, in equal steps up to it; the first is not 0.

    Returns:
      The rate.

    References:
      Loshchilov and Hutter (2017), SGDR: stochastic gradient descent with warm restarts, eq. (5).
    """
    after = SCHEDULES[schedule](base, epochs - warmup)
    before = optax.linear_schedule(0.0, base, warmup + 1)
    rate = before(epoch + 1) if epoch < warmup else after(epoch - warmup)
    return float(np.asarray(rate))
