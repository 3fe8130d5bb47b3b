"""HTNet (Wang et al. 2024): transformers on four areas of the face, joined level by level.

"HTNet for micro-expression recognition". The image is cut into patches, and each patch is a token.
A level is a transformer that attends within blocks of tokens. Between two levels an aggregation
(3x3 convolution, layer normalisation, 3x3 max-pool of stride 2) halves the sides and doubles the
channels. So the next level has half as many blocks per side, with as many tokens in each. The last
level has one block. It is followed by layer normalisation, the mean over the tokens and one fully
connected layer. Layers and sizes are those of the authors' PyTorch code. The network has
139,582,982 parameters for three classes.

At the published sizes (28 px, patches of 7, three levels) a block is one token on every level. A
token that attends only to itself is unchanged by its attention weights. So the queries and keys, a
sixth of the weights, learn nothing. Nor does the last level's position, which the following
normalisations remove.

Open: the areas. The authors' code crops the eyes and the mouth corners, 14 px each, at positions
that a detector finds in the clip's apex frame. The flow alone does not give these positions. Here
they are those that the authors' code uses if its detector finds no face, the same for every clip.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import EPSILON, POINT, Conv, Dense, Key, Map, Mask, global_mean, mean
from mser_jax.models.ops.pool import max_pool2d

Blocks = Float[Array, "n _t _h _w _c"]  # one map per block of a clip

# Row and column of the centre of each area, in px of an image of 28 x 28. The authors' code takes a
# landmark's x for its row. So each row of areas begins with an eye and ends with a mouth corner.
SIDE = 28
AREAS = (((9, 11), (21, 10)), ((10, 22), (20, 22)))


@dataclasses.dataclass(frozen=True)
class HTNetSettings:
    """The sizes of an HTNet. The defaults are the sizes in the authors' code.

    Attributes:
      channels: Channels of the image.
      patch: Side of a patch, px.
      width: Channels of a token on the first level. They double from level to level.
      heads: Heads of an attention on the first level. They double from level to level.
      repeats: Numbers of attention and feed-forward layers, one number per level.
      expansion: Hidden channels of a feed-forward layer per channel of a token.
    """

    channels: int = 3
    patch: int = 7
    width: int = 256
    heads: int = 3
    repeats: tuple[int, ...] = (2, 2, 10)
    expansion: int = 4


PUBLISHED_SETTINGS = HTNetSettings()


class LayerNorm(nnx.Module):
    """Layer normalisation of each token over its channels (Ba et al. 2016)."""

    def __init__(self, channels: int):
        shape = 1, 1, 1, 1, channels
        self.scale, self.bias = nnx.Param(jnp.ones(shape)), nnx.Param(jnp.zeros(shape))

    def __call__(self, x: Map) -> Map:
        """Normalise a map `[b, 1, h, w, c]`, keeping its shape."""
        centred = x - mean(x, [-1])
        deviation = jnp.sqrt(mean(centred**2, [-1]) + EPSILON)
        return centred / deviation * self.scale[...] + self.bias[...]


class Attention(nnx.Module):
    """Layer normalisation and attention among the tokens of a block (Vaswani et al. 2017)."""

    def __init__(self, channels: int, heads: int, *, rngs: nnx.Rngs):
        inner = channels // heads * heads
        self.heads = heads
        self.norm = LayerNorm(channels)
        self.query, self.key, self.value = (
            Conv(channels, inner, POINT, rngs=rngs) for _ in range(3)
        )
        self.out = Conv(inner, channels, POINT, bias=True, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """Compute what is added to a map `[b, 1, h, w, c]`; the shape stays."""
        x = self.norm(x)
        value = self.value(x)
        # A single token has the attention weight 1, so its value stays as it is.
        if math.prod(value.shape[1:4]) > 1:
            value = self._attend(self.query(x), self.key(x), value)
        return self.out(value)

    def _attend(self, query: Map, key: Map, value: Map) -> Map:
        b, *_, inner = value.shape
        size = inner // self.heads
        q, k, v = (part.reshape(b, -1, self.heads, size) for part in (query, key, value))
        scores = jnp.einsum("bihd,bjhd->bhij", q, k) * size**-0.5
        return jnp.einsum("bhij,bjhd->bihd", jax.nn.softmax(scores), v).reshape(value.shape)


class FeedForward(nnx.Module):
    """Layer normalisation and two layers with GELU between, for each token by itself."""

    def __init__(self, channels: int, expansion: int, *, rngs: nnx.Rngs):
        hidden = channels * expansion
        self.norm = LayerNorm(channels)
        self.first = Conv(channels, hidden, POINT, bias=True, rngs=rngs)
        self.second = Conv(hidden, channels, POINT, bias=True, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """Compute what is added to a map `[b, 1, h, w, c]`; the shape stays."""
        return self.second(jax.nn.gelu(self.first(self.norm(x)), approximate=False))


class Transformer(nnx.Module):
    """A level: a learned position per token of a block, then attention and feed-forward in turn."""

    def __init__(
        self, channels: int, heads: int, repeats: int, expansion: int, side: int, *, rngs: nnx.Rngs
    ):
        shape = 1, 1, side, side, 1
        self.position = nnx.Param(jax.random.normal(rngs.params(), shape), deviation=1.0)
        self.layers = nnx.List(
            layer
            for _ in range(repeats)
            for layer in (
                Attention(channels, heads, rngs=rngs),
                FeedForward(channels, expansion, rngs=rngs),
            )
        )

    def __call__(self, x: Map) -> Map:
        """Transform blocks `[b, 1, side, side, c]`, keeping their shape."""
        x = x + self.position[...]
        for layer in self.layers:
            x = x + layer(x)
        return x


class Aggregate(nnx.Module):
    """The aggregation between two levels: it joins neighbouring tokens, also across blocks."""

    def __init__(self, c_in: int, c_out: int, *, rngs: nnx.Rngs):
        self.conv = Conv(c_in, c_out, (1, 3, 3), bias=True, rngs=rngs)
        self.norm = LayerNorm(c_out)

    def __call__(self, x: Map) -> Map:
        """Map `[b, 1, h, w, c_in]` to `[b, 1, h / 2, w / 2, c_out]`."""
        return max_pool2d(self.norm(self.conv(x)), 3, 2, padding=1)


class HTNet(nnx.Module):
    """A hierarchical transformer over four areas of a flow image.

    Args:
      classes: Number of classes.
      side: Side of the image, px; 28 in the paper. The sides of patches and blocks must divide it.
      settings: Sizes of the network.
      rngs: Random generators for the initial weights.

    Raises:
      ValueError: If patches, blocks and areas do not divide the side.
    """

    def __init__(
        self,
        classes: int,
        *,
        side: int = SIDE,
        settings: HTNetSettings = PUBLISHED_SETTINGS,
        rngs: nnx.Rngs,
    ):
        self.patch, levels = settings.patch, len(settings.repeats)
        blocks = 2 ** (levels - 1)  # blocks per side on the first level
        if side % (multiple := math.lcm(4, self.patch * blocks)):
            raise ValueError(f"the side of {side} px must be a multiple of {multiple}")
        widths = [settings.width * 2**level for level in range(levels)]
        self.embed = Conv(self.patch**2 * settings.channels, widths[0], POINT, bias=True, rngs=rngs)
        self.levels = nnx.List(
            Transformer(
                width,
                settings.heads * 2**level,
                repeats,
                settings.expansion,
                side // self.patch // blocks,
                rngs=rngs,
            )
            for level, (width, repeats) in enumerate(zip(widths, settings.repeats))
        )
        self.aggregates = nnx.List(
            Aggregate(*pair, rngs=rngs) for pair in itertools.pairwise(widths)
        )
        self.norm = LayerNorm(widths[-1])
        self.last = Dense(widths[-1], classes, rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b 1 n"]:
        """Compute logits.

        Args:
          x: Images `[b, 1, side, side, channels]`.
          mask: Unused, because no layer mixes clips.
          key: Unused, because the authors' code has no dropout.

        Returns:
          Logits `[b, 1, classes]` of the one head.
        """
        x = self.embed(_patches(areas(x), self.patch))
        for index, level in enumerate(self.levels):
            blocks = 2 ** (len(self.levels) - 1 - index)
            x = _merge_blocks(level(_split_blocks(x, blocks)), blocks)
            if blocks > 1:
                x = self.aggregates[index](x)
        return self.last(global_mean(self.norm(x)).reshape(len(x), -1))[:, None]


def areas(x: Map) -> Map:
    """Crop the four areas and join them to an image of the same size.

    Each area has half the side of the image.

    Args:
      x: Images `[b, 1, side, side, channels]`.
    """
    side = x.shape[2]
    half = side // 4  # half the side of an area

    def area(row: int, column: int) -> Map:
        top, left = (
            min(max(centre * side // SIDE, half), side - half) - half for centre in (row, column)
        )
        return x[:, :, top : top + 2 * half, left : left + 2 * half]

    rows = [jnp.concatenate([area(*centre) for centre in row], axis=3) for row in AREAS]
    return jnp.concatenate(rows, axis=2)


def _patches(x: Map, size: int) -> Map:
    """Make the pixels of a patch the channels of a token.

    The result is `[b, 1, h / size, w / size, size * size * c]`.
    """
    b, _, h, w, c = x.shape
    patches = x.reshape(b, h // size, size, w // size, size, c).swapaxes(2, 3)
    return patches.reshape(b, 1, h // size, w // size, size * size * c)


def _split_blocks(x: Map, blocks: int) -> Blocks:
    """Split each map into `blocks` x `blocks` blocks, along the axis of the clips.

    `[b, 1, h, w, c]` becomes `[b * blocks**2, 1, h / blocks, w / blocks, c]`.
    """
    b, _, h, w, c = x.shape
    split = x.reshape(b, blocks, h // blocks, blocks, w // blocks, c).swapaxes(2, 3)
    return split.reshape(-1, 1, h // blocks, w // blocks, c)


def _merge_blocks(x: Blocks, blocks: int) -> Map:
    """Merge the blocks of each map, the inverse of `_split_blocks`."""
    _, _, h, w, c = x.shape
    merged = x.reshape(-1, blocks, blocks, h, w, c).swapaxes(2, 3)
    return merged.reshape(-1, 1, blocks * h, blocks * w, c)
