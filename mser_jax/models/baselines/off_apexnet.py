"""OFF-ApexNet (Gan et al. 2019): one small network for each component of the onset-apex flow.

"OFF-ApexNet on micro-expression recognition system". Two streams see the horizontal and the
vertical flow: a 5x5 convolution of 6 filters, ReLU, a 2x2 max-pool, and the same with 16 filters.
Both streams are then flattened and followed by two fully connected layers of 1024 with ReLU and one
of the classes. The network has 2,664,475 parameters for three classes; Off-TANet's authors count
2.66 M.

Open: dropout, because not the paper itself was available, only implementations by others. Here half
of each hidden layer is dropped, as in the code of Off-TANet's authors (whose convolutions, however,
have no ReLU).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import Conv, Dense, Key, Map, Mask
from mser_jax.models.ops.pool import max_pool2d

FILTERS = (6, 16)
HIDDEN = 1024
DROPOUT = 0.5


class ConvReLU(nnx.Module):
    """A convolution over height and width that keeps their size, and ReLU."""

    def __init__(self, c_in: int, c_out: int, size: int, *, rngs: nnx.Rngs):
        self.conv = Conv(c_in, c_out, (1, size, size), bias=True, rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Map `[b, 1, h, w, c_in]` to `[b, 1, h, w, c_out]`."""
        return jax.nn.relu(self.conv(x))


class Stream(nnx.Module):
    """The layers for one component of the flow."""

    def __init__(self, *, rngs: nnx.Rngs):
        first, second = FILTERS
        self.first = ConvReLU(1, first, 5, rngs=rngs)
        self.second = ConvReLU(first, second, 5, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """Map `[b, 1, side, side, 1]` to `[b, 1, side // 4, side // 4, 16]`."""
        pooled = max_pool2d(self.first(x), 2, 2)
        return max_pool2d(self.second(pooled), 2, 2)


class OFFApexNet(nnx.Module):
    """A stream for each component of the flow, then three fully connected layers.

    Args:
      classes: Number of classes.
      side: Side of the image, px; 28 in the paper.
      rngs: Random generators for the initial weights.
    """

    def __init__(self, classes: int, *, side: int = 28, rngs: nnx.Rngs):
        self.u, self.v = Stream(rngs=rngs), Stream(rngs=rngs)
        self.first = Dense(2 * FILTERS[-1] * (side // 4) ** 2, HIDDEN, rngs=rngs)
        self.second = Dense(HIDDEN, HIDDEN, rngs=rngs)
        self.last = Dense(HIDDEN, classes, rngs=rngs)
        self.dropout = nnx.Dropout(DROPOUT)

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b 1 n"]:
        """Compute logits.

        Args:
          x: Horizontal and vertical flow, `[b, 1, side, side, 2]`.
          mask: Unused, because no layer mixes clips.
          key: Random key of the dropout; None drops nothing.

        Returns:
          Logits `[b, 1, classes]` of the one head.

        Raises:
          ValueError: If the image does not have two channels.
        """
        u, v = components(x)
        hidden = flatten_maps(self.u(u), self.v(v))
        keys = (None, None) if key is None else jax.random.split(key)
        for layer, layer_key in zip((self.first, self.second), keys):
            hidden = jax.nn.relu(layer(hidden))
            hidden = self.dropout(hidden, deterministic=key is None, rngs=layer_key)
        return self.last(hidden)[:, None]


def components(x: Map) -> tuple[Map, Map]:
    """Split a flow image into its horizontal and vertical component.

    Args:
      x: Flow `[b, t, h, w, 2]`.

    Returns:
      (u, v), each with one channel.

    Raises:
      ValueError: If the image does not have two channels.
    """
    if x.shape[-1] != 2:
        raise ValueError(f"the streams need u and v, 2 channels; the image has {x.shape[-1]}")
    return x[..., :1], x[..., 1:]


def flatten_maps(*maps: Map) -> Float[Array, "b _"]:
    """Flatten the maps of each clip and join them, one map after the other."""
    return jnp.concatenate([x.reshape(len(x), -1) for x in maps], axis=1)
