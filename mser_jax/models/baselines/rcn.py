"""RCN-A, a recurrent convolutional network (Xia et al. 2020), for one onset-apex flow per clip.

"Revealing the Invisible with Model and Data Shrinking for Composite-database Micro-expression
Recognition". A 5x5 convolution, a recurrent convolutional layer and one fully connected layer. The
first two are each followed by batch normalisation, ReLU, a 2x2 max-pool and dropout. The result is
averaged to 5x5 cells. RCN-A is the variant with the attention unit, which has no parameters. It
applies the classifier's weights to the cells before the recurrent layer. Where they find evidence
for a class, the cells after the recurrent layer get a larger weight.

Where the paper and the authors' PyTorch code leave a choice, this follows the code. Open: the
feature maps (32 in the code's example, 64 by its default) and the cells (5x5 and 7x7); this uses
those of the example. Open: the size of the image; this uses 28 px, which become 24, 12 and 6, so
that the cells are overlapping means of 2x2. Convolutions have no bias, because the normalisation
after them would remove it. Their weights are drawn by He's rule with the fan-in instead of the
fan-out, a scale that the normalisation also removes. The classifier's weights are drawn as by the
authors. A map of evidence that is equal everywhere is 0 here; the authors' code divides it by 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import ConvBN, Dense, Key, Map, Mask, maximum
from mser_jax.models.ops.pool import max_pool2d

CELLS = 5
RECURRENT_STEPS = 2
DROPOUT = 0.5


class RecurrentConv(nnx.Module):
    """A recurrent convolutional layer: each step sees the layer's input plus the last output.

    All steps share the 3x3 convolution and its normalisation. Each step updates the running
    statistics.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.feed = ConvBN(channels, channels, (1, 1, 1), rngs=rngs)
        self.recurrent = ConvBN(channels, channels, (1, 3, 3), rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Transform a map `[b, 1, h, w, c]`, keeping its shape."""
        y = self.feed(x, mask)
        for _ in range(RECURRENT_STEPS):
            y = self.recurrent(x + y, mask)
        return y


class RCN(nnx.Module):
    """RCN-A over horizontal and vertical flow and strain.

    Args:
      classes: Number of classes.
      side: Side of the image, px. From 24 px on there is at least one pixel per cell; below, cells
        share pixels.
      maps: Channels of both convolutions.
      rngs: Random generators for the initial weights.
    """

    def __init__(self, classes: int, *, side: int = 28, maps: int = 32, rngs: nnx.Rngs):
        del side  # The number of cells does not depend on it.
        self.conv = ConvBN(3, maps, (1, 5, 5), padded=False, rngs=rngs)
        self.rcl = RecurrentConv(maps, rngs=rngs)
        self.fc = Dense(CELLS**2 * maps, classes, deviation=0.01, rngs=rngs)
        self.dropout = nnx.Dropout(DROPOUT)

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b 1 n"]:
        """Compute logits.

        Args:
          x: Images `[b, 1, side, side, 3]`.
          mask: `[b]`, False where a slot is empty; None if the batch is full.
          key: Random key of the dropout, which drops half of the pooled values after both
            max-pools; None drops nothing.

        Returns:
          Logits `[b, 1, classes]` of the one head.
        """
        first, second = (None, None) if key is None else jax.random.split(key)
        x = self._pool_and_drop(self.conv(x, mask), first)
        y = self._pool_and_drop(self.rcl(x, mask), second)
        weighted = adaptive_average_pool(y, CELLS) * attention(
            adaptive_average_pool(x, CELLS), self.fc.kernel[...]
        )
        return self.fc(weighted.reshape(len(x), -1))[:, None]

    def _pool_and_drop(self, x: Map, key: Key) -> Map:
        return self.dropout(max_pool2d(x, 2, 2), deterministic=key is None, rngs=key)


def attention(x: Map, kernel: Float[Array, "k n"]) -> Float[Array, "b t h w 1"]:
    """Compute the evidence for the classes at each position, scaled to [0, 1].

    The evidence for each class is scaled by its minimum and maximum over the positions, then
    averaged over the classes.

    Args:
      x: Map `[b, t, h, w, c]`.
      kernel: Weights of the classifier for each position and channel, `[h * w * c, classes]`.
    """
    evidence = jnp.einsum("bthwc,hwcn->bthwn", x, kernel.reshape(*x.shape[2:], -1))
    shifted = evidence + maximum(-evidence, (2, 3))
    highest = maximum(shifted, (2, 3))
    return jnp.mean(shifted / jnp.where(highest > 0, highest, 1), axis=-1, keepdims=True)


def adaptive_average_pool(x: Map, count: int) -> Map:
    """Average a map to `count` x `count` cells.

    A pixel that lies in two cells counts for both.

    Args:
      x: Map `[b, t, h, w, c]`.
      count: Number of cells along the height and along the width.

    Returns:
      Means `[b, t, count, count, c]`.
    """
    row_weights, column_weights = (
        jnp.asarray(_pool_weights(side, count), x.dtype) for side in x.shape[2:4]
    )
    return jnp.einsum("ih,bthwc,jw->btijc", row_weights, x, column_weights)


def _pool_weights(side: int, count: int) -> Float[np.ndarray, "count side"]:
    """Compute the weight of each pixel in the mean of each cell.

    The exact borders of a cell are rounded outwards to whole pixels.
    """
    cell, pixel = np.arange(count)[:, None], np.arange(side)[None]
    inside = (pixel >= cell * side // count) & (pixel < -(-(cell + 1) * side // count))
    return inside / inside.sum(axis=1, keepdims=True)
