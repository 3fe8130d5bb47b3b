"""The optimiser of one fold (4.2). The learning rate is separate: it depends on the epoch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import optax

Tree = Any


MOMENTUM = 0.9  # for 'sgd'
TRANSFORMS: Mapping[str, Callable[[], optax.GradientTransformation]] = MappingProxyType(
    {"adam": optax.scale_by_adam, "sgd": lambda: optax.trace(MOMENTUM)}
)


def make(name: str, weight_decay: float) -> optax.GradientTransformation:
    """Make Adam or SGD with decoupled weight decay.

    The caller multiplies the updates by minus the learning rate.

    Args:
      name: 'adam', or 'sgd' with momentum.
      weight_decay: Decay of the kernels per step, to be multiplied by the learning rate. With 0,
        'adam' is Adam, else AdamW. Biases, scales of normalisations and the weights that mix
        branches do not decay.

    Returns:
      A transformation whose update needs the parameters.

    References:
      Kingma and Ba (2015), Adam: a method for stochastic optimization.
      Loshchilov and Hutter (2019), Decoupled weight decay regularization.
    """
    return optax.chain(TRANSFORMS[name](), optax.add_decayed_weights(weight_decay, kernel_mask))


def kernel_mask(params: Tree) -> Tree:
    """Mark with True the kernels of convolutions and fully connected layers."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _step_schedule(base: float, epochs: int) -> optax.Schedule:
    boundaries = (-(-thirds * epochs // 3) for thirds in (1, 2))  # rounded up
    return optax.piecewise_constant_schedule(base, dict.fromkeys(boundaries, 0.1))


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
    """Return the learning rate of an epoch, the same for all its steps.

    It depends on the epoch and not on the update, because folds differ in their number of updates.

    Args:
      epoch: Epoch, counted from 0.
      base: Highest rate.
      schedule: Schedule of the epochs after the warm-up: 'constant'; 'cosine' (half a wave from
        `base` to 0, which would be reached just after the last epoch); 'step' (a tenth of `base`
        after one third of these epochs, a hundredth after two thirds); 'halves' (half after every
        ten of them, as in the code of RCN's authors); or 'tenths' (a tenth less after each, as in
        the code of CapsuleNet's authors).
      epochs: Number of all epochs; more than `warmup`.
      warmup: Number of epochs before `base` is reached. The rate rises to it in equal steps; the
        first rate is not 0.

    Returns:
      The learning rate.

    References:
      Loshchilov and Hutter (2017), SGDR: stochastic gradient descent with warm restarts, eq. (5).
    """
    main_schedule = SCHEDULES[schedule](base, epochs - warmup)
    warmup_schedule = optax.linear_schedule(0.0, base, warmup + 1)
    rate = warmup_schedule(epoch + 1) if epoch < warmup else main_schedule(epoch - warmup)
    return float(np.asarray(rate))
