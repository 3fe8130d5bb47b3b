"""What a fold carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, UInt32

from mser_jax.models.network import Network

Tree = Any


class State(NamedTuple):
    """One fold: what it has learned, and what it needs to go on.

    Attributes:
      params: of the network.
      batch_stats: running statistics of the batch normalisations.
      opt_state: the optimiser's moments.
      key: raw key of what is drawn during training; it comes from the fold's seed and name.
      failed: (epoch, step), both from 0, of the first update that was not finite, and from which on
        nothing changes any more; (-1, -1) while there is none.
    """

    params: Tree
    batch_stats: Tree
    opt_state: Tree
    key: UInt32[Array, " 2"]
    failed: Int[Array, " 2"]


def create(network: Network, optimizer: optax.GradientTransformation, key: jax.Array) -> State:
    """Create the state of one fold before its first step."""
    params, batch_stats = network.init(key)
    failed = jnp.full(2, -1, jnp.int32)
    return State(params, batch_stats, optimizer.init(params), jax.random.key_data(key), failed)
