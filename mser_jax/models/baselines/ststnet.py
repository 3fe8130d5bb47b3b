"""STSTNet, the small network of the field (Liong et al. 2019), for one onset-apex flow per clip.

"Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression Recognition". Three
streams of 3, 5 and 8 filters each have a 3x3 convolution with padding 2, ReLU, batch normalisation,
a 3x3 max-pool of stride 3 with padding 1, and dropout. The streams are then joined and followed by
a 2x2 average and one fully connected layer. The names and the order of the layers are those of the
authors' PyTorch code. The initial weights have the deviation of PyTorch's, because 1,600 small
steps do not make up for another initialisation.

All streams see the same image, so they are computed as one stream of 16 filters, with the clips on
the vector lanes. The normalisation is an affine function of each channel. The maximum of its values
is its value at the channel's maximum, or at the minimum if the function falls. So the pool comes
first, and the normalisation applies to a ninth of the values. Of the map itself only the sums are
needed, so `lanes` never stores it.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from mser_jax.models.layers import (
    BatchNorm,
    Conv,
    Dense,
    Map,
    Mask,
    Moments,
    batch_moments,
    torch_deviation,
)
from mser_jax.models.ops import lanes

FILTERS = (3, 5, 8)

Pools = Float[Array, "k _h c _w l"]  # pooled maps in the blocks of `lanes`


class STSTNet(nnx.Module):
    """Three shallow streams over horizontal and vertical flow and strain.

    Args:
      classes: Number of classes.
      side: Side of the image, px; 28 in the paper.
      rngs: Random generators for the initial weights.
    """

    def __init__(self, classes: int, *, side: int = 28, rngs: nnx.Rngs):
        self.conv1, self.conv2, self.conv3 = (
            Conv(3, filters, (1, 3, 3), bias=True, deviation=torch_deviation(3 * 3 * 3), rngs=rngs)
            for filters in FILTERS
        )
        self.bn1, self.bn2, self.bn3 = (BatchNorm(filters) for filters in FILTERS)
        cells = ((side + 1) // 3 + 1) // 2  # per side, after padding 2, the max-pool, the average
        features = sum(FILTERS) * cells**2
        self.fc = Dense(features, classes, deviation=torch_deviation(features), rngs=rngs)

    def __call__(
        self, x: Map, mask: Mask = None, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b 1 n"]:
        """Compute logits.

        Args:
          x: Images `[b, 1, side, side, 3]`; 28 x 28 in the paper.
          mask: `[b]`, False where a slot is empty; None if the batch is full.
          key: Random key of the dropout, which drops half of the pooled values; None drops
            nothing.

        Returns:
          Logits `[b, 1, classes]` of the one head.
        """
        pooled = self._streams(x.squeeze(1), mask)
        if key is not None:
            pooled = 2 * pooled * random_bits(key, pooled.shape)
        features = lanes.from_blocks(_average_pool(pooled).swapaxes(1, 2))  # [c, h, w, b]
        return self.fc(features.reshape(-1, features.shape[-1]).T)[: len(x), None]

    def _streams(self, x: Float[Array, "b h w c"], mask: Mask) -> Pools:
        """Compute all streams as one, from the convolution to the max-pool."""
        convs, norms = (self.conv1, self.conv2, self.conv3), (self.bn1, self.bn2, self.bn3)
        kernel, bias = (
            _concatenate([w[...] for w in ws]) for ws in zip(*((c.kernel, c.bias) for c in convs))
        )
        signs = jnp.where(_concatenate([norm.scale[...] for norm in norms]) < 0, -1.0, 1.0)
        best, *sums = lanes.conv_relu_pool(lanes.to_blocks(x), kernel[0], bias.reshape(-1), signs)
        positions = math.prod(side + 2 for side in x.shape[1:3])
        mean, square = (lanes.from_blocks(total / positions)[:, : len(x)] for total in sums)
        mean, factor, offset = self._affine_terms(batch_moments(mean, square, mask, axis=1))
        return (best - mean) * factor + offset

    def _affine_terms(self, moments: Moments) -> list[Float[Array, "1 1 c 1 1"]]:
        """Return the mean, factor and bias of all channels, as `BatchNorm.affine` does."""
        norms, ends = (self.bn1, self.bn2, self.bn3), [sum(FILTERS[:n]) for n in (1, 2)]
        stream_moments = zip(*(jnp.split(moment, ends) for moment in moments))
        terms = [
            norm.affine(lambda values=values: values) for norm, values in zip(norms, stream_moments)
        ]
        return [_concatenate(parts).reshape(1, 1, -1, 1, 1) for parts in zip(*terms)]


def _concatenate(parts: Sequence[Array]) -> Array:
    return jnp.concatenate(parts, axis=-1)


def _average_pool(x: Pools) -> Pools:
    """Average windows of 2x2 at stride 2, without an odd last row or column."""
    k, h, c, w, lanes = x.shape
    rows, columns = h // 2, w // 2
    cells = x[:, : 2 * rows, :, : 2 * columns].reshape(k, rows, 2, c, columns, 2, lanes)
    return jnp.mean(cells, axis=(2, 5))


def random_bits(key: PRNGKeyArray, shape: Sequence[int]) -> Float[Array, "..."]:
    """Draw zeros and ones of equal probability: 32 per random word.

    Args:
      key: Random key.
      shape: Shape of the result.
    """
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 32), 1))
    bits = (words >> jnp.arange(32, dtype=words.dtype)[None]) & 1
    return bits.reshape(-1)[:size].reshape(shape).astype(jnp.float32)
