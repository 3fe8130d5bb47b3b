"""The optimiser of one fold (4.2), without its learning rate, which changes from epoch to epoch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import optax

Tree = Any


MOMENTUM = 0.9  # of 'sgd'
TRANSFORMS: Mapping[str, Callable[[], optax.GradientTransformation]] = MappingProxyType(
    {"adam": optax.scale_by_adam, "sgd": lambda: optax.trace(MOMENTUM)}
)


def make(name: str, weight_decay: float) -> optax.GradientTransformation:
    """Adam or SGD with decoupled weight decay; the caller multiplies updates by minus the rate.

    Args:
      name: 'adam', or 'sgd' with momentum.
      weight_decay: of the kernels a step, times the rate; with 0 'adam' is Adam, else AdamW. Biases,
        scales of normalisations and the weights that mix branches do not decay.

    Returns:
      A transformation whose update needs the parameters.

    References:
      Kingma and Ba (2015), Adam: a method for stochastic optimization.
      Loshchilov and Hutter (2019), Decoupled weight decay regularization.
    """
    return optax.chain(TRANSFORMS[name](), optax.add_decayed_weights(weight_decay, kernel_mask))


def kernel_mask(params: Tree) -> Tree:
    """Which parameters are the kernels of convolutions and fully connected layers."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _step_schedule(base: float, epochs: int) -> optax.Schedule:
    ends = (-(-part * epochs // 3) for part in (1, 2))  # rounded up
    return optax.piecewise_constant_schedule(base, dict.fromkeys(ends, 0.1))


def _staircase_decay(every: int, factor: float) -> Callable[[float, int], optax.Schedule]:
    return lambda base, epochs: optax.exponential_decay(base, every, factor, staircase=True)


SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda base, epochs: optax.constant_schedule(base),
    "cosine": optax.cosine_decay_schedule,
    "step": _step_schedule,
    "halves": _staircase_decay(10, 0.5),
    "tenths": _staircase_decay(1, 0.9),
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
