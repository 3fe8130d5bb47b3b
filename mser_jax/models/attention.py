"""Temporal and spatial attention after block 1 (section 3.3.1, which leaves its form open)."""

import jax
import jax.numpy as jnp
from flax import nnx

from mser_jax.models.layers import Conv, Map, maximum, mean


class TemporalSpatialAttention(nnx.Module):
    """Weights for the time steps, then for the positions, computed from means and maxima.

    Time: mean and maximum over height, width and channels, a 1-D convolution of width 3, sigmoid.
    Space: mean and maximum over time and channels, a 7x7 convolution, sigmoid.
    Without `temporal` the 1-D convolution has width 1. If the clip has one time step, the temporal
    attention is then one number that scales the whole clip.
    """

    def __init__(self, *, temporal: bool = True, rngs: nnx.Rngs):
        self.time = Conv(2, 1, (3 if temporal else 1, 1, 1), bias=True, rngs=rngs)
        self.space = Conv(2, 1, (1, 7, 7), bias=True, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """Weight a map `[b, t, h, w, c]`, keeping its shape."""
        x = apply_weights(x, self.time_weights(x))
        return apply_weights(x, self.space_weights(x))

    def time_weights(self, x: Map) -> Map:
        """Compute the weights of the time steps, in (0, 1).

        Args:
          x: Map `[b, t, h, w, c]`.

        Returns:
          Weights `[b, t, 1, 1, 1]`.
        """
        return _weights(self.time, x, (2, 3, 4))

    def space_weights(self, x: Map) -> Map:
        """Compute the weights of the positions, in (0, 1).

        Args:
          x: Map `[b, t, h, w, c]`, already weighted over time.

        Returns:
          Weights `[b, 1, h, w, 1]`.
        """
        return _weights(self.space, x, (1, 4))


def apply_weights(x: Map, weights: Map) -> Map:
    """Multiply a map `[b, t, h, w, c]` by broadcast weights, in the map's dtype."""
    return (x * weights).astype(x.dtype)


def _weights(convolution: Conv, x: Map, axes: tuple[int, ...]) -> Map:
    # The concatenation has the mean's dtype, float32 or wider.
    pooled = jnp.concatenate([mean(x, axes), maximum(x, axes)], axis=-1)
    return jax.nn.sigmoid(convolution(pooled))
