"""Dual-Inception (Zhou, Mao and Xue 2019): OFF-ApexNet's streams with inceptions for convolutions.

"Dual-Inception Network for Cross-Database Micro-Expression Recognition". Each component of the flow
goes through two inceptions, of 6 and of 16 filters per branch, each followed by a 2x2 max-pool.
Both streams are then flattened and followed by one fully connected layer of 1024 with ReLU and one
of the classes. The layers are those of the authors' Keras code, without dropout. The network has
6,449,867 parameters for three classes; Off-TANet's authors count 6.45 M.

Open: the channels of an image. The authors' code reads each component from an image file with three
channels. Here each component has one channel, which carries the same information if the file is
grey.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.baselines.off_apexnet import (
    FILTERS,
    HIDDEN,
    ConvReLU,
    components,
    flatten_maps,
)
from mser_jax.models.layers import Chain, Dense, Key, Map, Mask
from mser_jax.models.ops.pool import max_pool2d


class Inception(nnx.Module):
    """1x1, 3x3 and 5x5 convolutions and a 3x3 max-pool, side by side (Szegedy et al. 2015).

    A 1x1 convolution precedes each larger one and follows the max-pool. Each convolution is
    followed by ReLU.
    """

    def __init__(self, c_in: int, filters: int, *, rngs: nnx.Rngs):
        def point() -> ConvReLU:
            return ConvReLU(c_in, filters, 1, rngs=rngs)

        self.one, self.pooled = point(), point()
        self.three, self.five = (
            Chain([point(), ConvReLU(filters, filters, size, rngs=rngs)]) for size in (3, 5)
        )

    def __call__(self, x: Map) -> Map:
        """Map `[b, 1, h, w, c_in]` to `[b, 1, h, w, 4 * filters]`."""
        pooled = self.pooled(max_pool2d(x, 3, 1, padding=1))
        return jnp.concatenate([self.one(x), self.three(x), self.five(x), pooled], axis=-1)


class Stream(nnx.Module):
    """The layers for one component of the flow."""

    def __init__(self, *, rngs: nnx.Rngs):
        first, second = FILTERS
        self.first = Inception(1, first, rngs=rngs)
        self.second = Inception(4 * first, second, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """Map `[b, 1, side, side, 1]` to `[b, 1, side // 4, side // 4, 64]`."""
        pooled = max_pool2d(self.first(x), 2, 2)
        return max_pool2d(self.second(pooled), 2, 2)


class DualInception(nnx.Module):
    """A stream for each component of the flow, then two fully connected layers.

    Args:
      classes: Number of classes.
      side: Side of the image, px; 28 in the authors' code.
      rngs: Random generators for the initial weights.
    """

    def __init__(self, classes: int, *, side: int = 28, rngs: nnx.Rngs):
        self.u, self.v = Stream(rngs=rngs), Stream(rngs=rngs)
        self.first = Dense(2 * 4 * FILTERS[-1] * (side // 4) ** 2, HIDDEN, rngs=rngs)
        self.last = Dense(HIDDEN, classes, rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b 1 n"]:
        """Compute logits.

        Args:
          x: Horizontal and vertical flow, `[b, 1, side, side, 2]`.
          mask: Unused, because no layer mixes clips.
          key: Unused, because the network has no dropout.

        Returns:
          Logits `[b, 1, classes]` of the one head.

        Raises:
          ValueError: If the image does not have two channels.
        """
        u, v = components(x)
        hidden = jax.nn.relu(self.first(flatten_maps(self.u(u), self.v(v))))
        return self.last(hidden)[:, None]
