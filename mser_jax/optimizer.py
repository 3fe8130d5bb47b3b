"""The optimiser of one fold (4.2), without its learning rate, which changes from epoch to epoch."""

from typing import Any

import jax
import optax

Tree = Any


def adam(decay: float) -> optax.GradientTransformation:
    """Adam with decoupled weight decay; the caller multiplies its updates by minus the rate.

    Args:
      decay: of the kernels a step, times the rate; with 0 this is Adam, else AdamW. Biases, scales
        of normalisations and the weights that mix branches do not decay.

    Returns:
      A transformation whose update needs the parameters.

    References:
      Kingma and Ba (2015), Adam: a method for stochastic optimization.
      Loshchilov and Hutter (2019), Decoupled weight decay regularization.
    """
    return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(decay, kernels))


def kernels(params: Tree) -> Tree:
    """Which parameters are the kernels of convolutions and fully connected layers."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)
