"""The training state of a fold, carried from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, UInt32

from mser_jax.models.network import Network

Tree = Any


class State(NamedTuple):
    """Training state of one fold.

    Attributes:
      params: Parameters of the network.
      batch_stats: Running statistics of the batch normalisations.
      opt_state: State of the optimiser, its moments.
      key: Raw key of all random numbers of the training, from the fold's seed and name.
      failed: (epoch, step), both from 0, of the first update that was not finite; from then on
        nothing changes. (-1, -1) while there is none.
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
