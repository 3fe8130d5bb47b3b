"""The optimiser of one fold (4.2), without its learning rate, which changes from epoch to epoch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import optax

Tree = Any


MOMENTUM = 0.9  # of 'sgd'
DIRECTIONS: Mapping[str, Callable[[], optax.GradientTransformation]] = MappingProxyType(
    {"adam": optax.scale_by_adam, "sgd": lambda: optax.trace(MOMENTUM)}
)


def make(name: str, decay: float) -> optax.GradientTransformation:
    """Adam or SGD with decoupled weight decay; the caller multiplies updates by minus the rate.

    Args:
      name: 'adam', or 'sgd' with momentum.
      decay: of the kernels a step, times the rate; with 0 'adam' is Adam, else AdamW. Biases,
        scales of normalisations and the weights that mix branches do not decay.

    Returns:
      A transformation whose update needs the parameters.

    References:
      Kingma and Ba (2015), Adam: a method for stochastic optimization.
      Loshchilov and Hutter (2019), Decoupled weight decay regularization.
    """
    return optax.chain(DIRECTIONS[name](), optax.add_decayed_weights(decay, kernels))


def kernels(params: Tree) -> Tree:
    """Which parameters are the kernels of convolutions and fully connected layers."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)
