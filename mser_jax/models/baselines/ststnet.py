"""STSTNet, the small network of the field (Liong et al. 2019), for one onset-apex flow a clip.

"Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression Recognition". Three
streams of 3, 5 and 8 filters: a 3x3 convolution with padding 2, ReLU, batch normalisation, a 3x3
max-pool of stride 3 with padding 1, dropout; then the streams side by side, a 2x2 average and one
fully connected layer. Layers are named, and in the order, as in the authors' PyTorch code; weights
begin as large as PyTorch draws them, as 1,600 small steps do not forget how they began.

The streams see the same image, so that they are computed as one of 16 filters, the clips on the
vector lanes. The normalisation is a straight line for each channel, and a maximum of values on a
line is the maximum of the values, or the minimum where it falls: so the maximum comes first and the
line meets a ninth of them. Of the map itself only the sums are asked, and `lanes` never holds it.
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

Pools = Float[Array, "k _h c _w l"]  # of the blocks of `lanes`


class STSTNet(nnx.Module):
    """Three shallow streams over horizontal and vertical flow and strain.

    Args:
      classes: how many.
      side: of the image, px; 28 in the paper.
      rngs: of the initial weights.
    """

    def __init__(self, classes: int, *, side: int = 28, rngs: nnx.Rngs):
        self.conv1, self.conv2, self.conv3 = (
            Conv(3, filters, (1, 3, 3), bias=True, deviation=torch_deviation(3 * 3 * 3), rngs=rngs)
            for filters in FILTERS
        )
        self.bn1, self.bn2, self.bn3 = (BatchNorm(filters) for filters in FILTERS)
        cells = ((side + 1) // 3 + 1) // 2  # after the padding of 2, the max-pool, the average
        features = sum(FILTERS) * cells**2
        self.fc = Dense(features, classes, deviation=torch_deviation(features), rngs=rngs)

    def __call__(
        self, x: Map, mask: Mask = None, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b 1 n"]:
        """Logits.

        Args:
          x: `[b, 1, side, side, 3]`; 28 x 28 in the paper.
          mask: `[b]`, False where the batch has no clip; None when it is full.
          key: of the dropout, which leaves out half of the pooled values; None is without.

        Returns:
          `[b, 1, classes]`: one head.
        """
        pooled = self._streams(x.squeeze(1), mask)
        if key is not None:
            pooled = 2 * pooled * random_bits(key, pooled.shape)
        features = lanes.from_blocks(_average_pool(pooled).swapaxes(1, 2))  # [c, h, w, b]
        return self.fc(features.reshape(-1, features.shape[-1]).T)[: len(x), None]

    def _streams(self, x: Float[Array, "b h w c"], mask: Mask) -> Pools:
        """Convolution to max-pool, all streams as one."""
        convs, norms = (self.conv1, self.conv2, self.conv3), (self.bn1, self.bn2, self.bn3)
        kernel, bias = (
            _concatenate([w[...] for w in ws]) for ws in zip(*((c.kernel, c.bias) for c in convs))
        )
        rises = jnp.where(_concatenate([norm.scale[...] for norm in norms]) < 0, -1.0, 1.0)
        best, *sums = lanes.conv_relu_pool(lanes.to_blocks(x), kernel[0], bias.reshape(-1), rises)
        places = math.prod(side + 2 for side in x.shape[1:3])
        mean, square = (lanes.from_blocks(one / places)[:, : len(x)] for one in sums)
        mean, factor, offset = self._affine_terms(batch_moments(mean, square, mask, axis=1))
        return (best - mean) * factor + offset

    def _affine_terms(self, moments: Moments) -> list[Float[Array, "1 1 c 1 1"]]:
        """What the normalisations of the streams do to each channel: `BatchNorm.affine`."""
        norms, ends = (self.bn1, self.bn2, self.bn3), [sum(FILTERS[:n]) for n in (1, 2)]
        streams = zip(*(jnp.split(moment, ends) for moment in moments))
        lines = [norm.affine(lambda own=own: own) for norm, own in zip(norms, streams)]
        return [_concatenate(parts).reshape(1, 1, -1, 1, 1) for parts in zip(*lines)]


def _concatenate(parts: Sequence[Array]) -> Array:
    return jnp.concatenate(parts, axis=-1)


def _average_pool(x: Pools) -> Pools:
    """A 2x2 mean at stride 2; what is left over at the ends goes."""
    k, h, c, w, lanes = x.shape
    down, right = h // 2, w // 2
    cells = x[:, : 2 * down, :, : 2 * right].reshape(k, down, 2, c, right, 2, lanes)
    return jnp.mean(cells, axis=(2, 5))


def random_bits(key: PRNGKeyArray, shape: Sequence[int]) -> Float[Array, "..."]:
    """0 or 1, each half of the time: a random word has 32 of them."""
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 32), 1))
    bits = (words >> jnp.arange(32, dtype=words.dtype)[None]) & 1
    return bits.reshape(-1)[:size].reshape(shape).astype(jnp.float32)
