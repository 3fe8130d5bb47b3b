"""RCN-A, a recurrent convolutional network (Xia et al. 2020), for one onset-apex flow a clip.

"Revealing the Invisible with Model and Data Shrinking for Composite-database Micro-expression
Recognition". A 5x5 convolution, a recurrent convolutional layer and one fully connected layer, each
of the first two with batch normalisation, ReLU, a 2x2 max-pool and dropout; what is left is
averaged to 5x5 cells. RCN-A is the variant with the attention unit, which has no parameters: where
the weights of the classes, laid over the cells before the recurrent layer, find evidence, the
cells after it count more.

Followed where the paper and the authors' PyTorch code leave a choice: the code. Open: the feature
maps (32 in the code's example, 64 its default) and the cells (5x5 and 7x7); here those of the
example. Open: the size of the image; here 28 px, of which 24, 12 and 6 are left, so that the cells
are overlapping means of 2x2. A convolution before a normalisation has no bias here: there it would
change nothing. Convolutions are drawn by He's rule from what goes in, not from what comes out,
which the normalisation takes away again; the classifier as the authors draw it. A map of evidence
that is equal everywhere, which they divide by 0, is 0 here.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import ConvBN, Dense, Key, Map, Mask, dropout, maximum
from mser_jax.models.ops.pool import max_pool2d

CELLS = 5
RECURRENT_STEPS = 2
DROPOUT = 0.5


class RecurrentConv(nnx.Module):
    """A recurrent convolutional layer: it sees its input again, beside its own answer.

    The 3x3 convolution and its normalisation are the same at each turn; the running statistics
    follow each turn's.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.feed = ConvBN(channels, channels, (1, 1, 1), rngs=rngs)
        self.recurrent = ConvBN(channels, channels, (1, 3, 3), rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, 1, h, w, c]`, the same shape out."""
        y = self.feed(x, mask)
        for _ in range(RECURRENT_STEPS):
            y = self.recurrent(x + y, mask)
        return y


class RCN(nnx.Module):
    """RCN-A over horizontal and vertical flow and strain.

    Args:
      classes: how many.
      side: of the image, px; from 24 on there is a pixel for each cell, below they share some.
      maps: channels of both convolutions.
      rngs: of the initial weights.
    """

    def __init__(self, classes: int, *, side: int = 28, maps: int = 32, rngs: nnx.Rngs):
        del side  # the cells are as many whatever it is
        self.conv = ConvBN(3, maps, (1, 5, 5), padded=False, rngs=rngs)
        self.rcl = RecurrentConv(maps, rngs=rngs)
        self.fc = Dense(CELLS**2 * maps, classes, deviation=0.01, rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b 1 n"]:
        """Logits.

        Args:
          x: `[b, 1, side, side, 3]`.
          mask: `[b]`, False where the batch has no clip; None when it is full.
          key: of the dropout, which leaves out half of what is pooled, twice; None is without.

        Returns:
          `[b, 1, classes]`: one head.
        """
        first, second = (None, None) if key is None else jax.random.split(key)
        x = _pool_and_drop(self.conv(x, mask), first)
        y = _pool_and_drop(self.rcl(x, mask), second)
        weighed = adaptive_average_pool(y, CELLS) * attention(
            adaptive_average_pool(x, CELLS), self.fc.kernel[...]
        )
        return self.fc(weighed.reshape(len(x), -1))[:, None]


def attention(x: Map, kernel: Float[Array, "k n"]) -> Float[Array, "b t h w 1"]:
    """How much each place says for a class, from 0 to 1, on average over the classes.

    Args:
      x: `[b, t, h, w, c]`.
      kernel: the classifier's weights of each place and channel, `[h * w * c, classes]`.
    """
    evidence = jnp.einsum("bthwc,hwcn->bthwn", x, kernel.reshape(*x.shape[2:], -1))
    above = evidence + maximum(-evidence, (2, 3))
    most = maximum(above, (2, 3))
    return jnp.mean(above / jnp.where(most > 0, most, 1), axis=-1, keepdims=True)


def adaptive_average_pool(x: Map, count: int) -> Map:
    """The means of `count` by `count` cells, which share a pixel where they meet in it."""
    down, right = (jnp.asarray(_pool_weights(side, count), x.dtype) for side in x.shape[2:4])
    return jnp.einsum("ih,bthwc,jw->btijc", down, x, right)


def _pool_weights(side: int, count: int) -> Float[np.ndarray, "count side"]:
    """How much of each cell each pixel is: cells end at the next whole pixel, and begin there."""
    cell, pixel = np.arange(count)[:, None], np.arange(side)[None]
    inside = (pixel >= cell * side // count) & (pixel < -(-(cell + 1) * side // count))
    return inside / inside.sum(axis=1, keepdims=True)


def _pool_and_drop(x: Map, key: Key) -> Map:
    pooled = max_pool2d(x, 2, 2)
    return dropout(pooled.reshape(len(x), -1), DROPOUT, key).reshape(pooled.shape)
