"""Temporal and spatial attention after block 1 (section 3.3.1; its form is open there)."""

import jax
import jax.numpy as jnp
from flax import nnx

from mser_jax.models.layers import Conv, Map, maximum, mean


class TemporalSpatialAttention(nnx.Module):
    """Weigh the time steps, then the positions, by what their means and maxima say.

    Time: mean and maximum over height, width and channels, a 1-D convolution of width 3, sigmoid.
    Space: mean and maximum over time and channels, a 7x7 convolution, sigmoid.
    Without `temporal` the width over time is 1: of one step, a gate that the whole clip passes.
    """

    def __init__(self, *, temporal: bool = True, rngs: nnx.Rngs):
        self.time = Conv(2, 1, (3 if temporal else 1, 1, 1), bias=True, rngs=rngs)
        self.space = Conv(2, 1, (1, 7, 7), bias=True, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """`[b, t, h, w, c]`, the same shape out."""
        x = apply_weights(x, self.time_weights(x))
        return apply_weights(x, self.space_weights(x))

    def time_weights(self, x: Map) -> Map:
        """Of the time steps: `[b, t, h, w, c]` to weights in (0, 1), `[b, t, 1, 1, 1]`."""
        return _weights(self.time, x, (2, 3, 4))

    def space_weights(self, x: Map) -> Map:
        """Of the positions: x, weighed over time, to weights in (0, 1), `[b, 1, h, w, 1]`."""
        return _weights(self.space, x, (1, 4))


def apply_weights(x: Map, weights: Map) -> Map:
    """`[b, t, h, w, c]` times weights that are broadcast to it, in the type of x."""
    return (x * weights).astype(x.dtype)


def _weights(convolution: Conv, x: Map, axes: tuple[int, ...]) -> Map:
    said = jnp.concatenate([mean(x, axes), maximum(x, axes)], axis=-1)  # the wider type of the two
    return jax.nn.sigmoid(convolution(said))
