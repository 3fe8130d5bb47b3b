"""What a fold carries from step to step."""

from typing import Any, NamedTuple

import jax
import optax

from mser_jax.models import Network

Tree = Any


class State(NamedTuple):
    """Parameters, running statistics of the batch normalisations, and the optimiser's moments."""

    params: Tree
    stats: Tree
    opt: Tree


def create(network: Network, optimizer: optax.GradientTransformation, key: jax.Array) -> State:
    """The state of one fold before its first step; `key` comes from the fold's seed and name."""
    params, stats = network.init(key)
    return State(params, stats, optimizer.init(params))
