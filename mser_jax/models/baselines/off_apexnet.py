"""OFF-ApexNet (Gan et al. 2019): one small network for each component of the onset-apex flow.

"OFF-ApexNet on micro-expression recognition system". Two streams, horizontal and vertical: a 5x5
convolution of 6 filters, ReLU, a 2x2 max-pool, and the same with 16; then both streams flat, two
fully connected layers of 1024 with ReLU, and one that says the classes. 2,664,475 parameters for
three of them, the 2.66 M that Off-TANet's authors count.

Open: dropout, as not the paper was at hand but what others built from it. Here: half of each hidden
layer, as in the code of Off-TANet's authors, whose convolutions however have no ReLU.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import Conv, Dense, Key, Map, Mask, dropout
from mser_jax.models.ops.pool import max_pool2d

FILTERS = (6, 16)
HIDDEN = 1024
DROPOUT = 0.5


class ConvReLU(nnx.Module):
    """A convolution of height and width that keeps their size, and ReLU."""

    def __init__(self, c_in: int, c_out: int, size: int, *, rngs: nnx.Rngs):
        self.conv = Conv(c_in, c_out, (1, size, size), bias=True, rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, 1, h, w, c_in]` to `[b, 1, h, w, c_out]`."""
        return jax.nn.relu(self.conv(x))


class Stream(nnx.Module):
    """What sees one component of the flow."""

    def __init__(self, *, rngs: nnx.Rngs):
        first, second = FILTERS
        self.first = ConvReLU(1, first, 5, rngs=rngs)
        self.second = ConvReLU(first, second, 5, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """`[b, 1, side, side, 1]` to `[b, 1, side // 4, side // 4, 16]`."""
        halved = max_pool2d(self.first(x), 2, 2)
        return max_pool2d(self.second(halved), 2, 2)


class OFFApexNet(nnx.Module):
    """A stream for each component of the flow, then three fully connected layers.

    Args:
      classes: how many.
      side: of the image, px; 28 in the paper.
      rngs: of the initial weights.
    """

    def __init__(self, classes: int, *, side: int = 28, rngs: nnx.Rngs):
        self.u, self.v = Stream(rngs=rngs), Stream(rngs=rngs)
        self.first = Dense(2 * FILTERS[-1] * (side // 4) ** 2, HIDDEN, rngs=rngs)
        self.second = Dense(HIDDEN, HIDDEN, rngs=rngs)
        self.last = Dense(HIDDEN, classes, rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b 1 n"]:
        """Logits.

        Args:
          x: `[b, 1, side, side, 2]`, horizontal and vertical flow.
          mask: used by nothing here, as no clip meets another.
          key: of the dropout; None is without.

        Returns:
          `[b, 1, classes]`: one head.

        Raises:
          ValueError: the image has not two channels.
        """
        u, v = components(x)
        hidden = flatten_maps(self.u(u), self.v(v))
        keys = (None, None) if key is None else jax.random.split(key)
        for layer, own in zip((self.first, self.second), keys):
            hidden = dropout(jax.nn.relu(layer(hidden)), DROPOUT, own)
        return self.last(hidden)[:, None]


def components(x: Map) -> tuple[Map, Map]:
    """Horizontal and vertical flow, each an image of one channel.

    Raises:
      ValueError: there are not two channels.
    """
    if x.shape[-1] != 2:
        raise ValueError(f"two streams see u and v, 2 channels; the image has {x.shape[-1]}")
    return x[..., :1], x[..., 1:]


def flatten_maps(*maps: Map) -> Float[Array, "b _"]:
    """Every entry of every map of a clip, one map after the other."""
    return jnp.concatenate([x.reshape(len(x), -1) for x in maps], axis=1)
