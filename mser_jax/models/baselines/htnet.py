"""HTNet (Wang et al. 2024): transformers on four areas of the face, joined level by level.

"HTNet for micro-expression recognition". The image is cut into patches, a token each. A level is a
transformer that attends within blocks of tokens; from level to level an aggregation (3x3
convolution, layer normalisation, 3x3 max-pool of stride 2) halves the sides, doubles the channels,
and so leaves half as many blocks a side with as many tokens in each. On the last level, one block,
follow layer normalisation, the mean over tokens and one fully connected layer. Layers and sizes as
in the authors' PyTorch code; 139,582,982 parameters for three classes.

At the published sizes (28 px, patches of 7, three levels) a block is one token on every level. What
attends to itself alone is left as it is: queries and keys, a sixth of the weights, learn nothing,
and neither does the last level's position, which the normalisations after it take away again.

Open: the areas. The authors' code crops eyes and mouth corners, 14 px each, where a detector finds
them in the clip's apex frame; from the flow alone nobody knows. Here: where that code takes them to
be when its detector finds no face, at the same places for every clip.
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

Blocks = Float[Array, "n _t _h _w _c"]  # a map of each block of each clip

# Row and column of the middle of each area, px of 28. The authors' code takes a landmark's x for
# its row, so that of the four images the eyes come first in both rows, the mouth after them.
SIDE = 28
AREAS = (((9, 11), (21, 10)), ((10, 22), (20, 22)))


@dataclasses.dataclass(frozen=True)
class HTNetSettings:
    """The sizes, by default those of the authors' code.

    Attributes:
      channels: of the image.
      patch: side of a patch, px.
      width: channels of a token on the first level.
      heads: of an attention on the first level; both double from level to level.
      repeats: of attention and feed-forward, for each level.
      expansion: of a feed-forward's hidden channels.
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
        """`[b, 1, h, w, c]`, the same shape out."""
        centred = x - mean(x, [-1])
        deviation = jnp.sqrt(mean(centred**2, [-1]) + EPSILON)
        return centred / deviation * self.scale[...] + self.bias[...]


class Attention(nnx.Module):
    """Every token of a block looks at every other (Vaswani et al. 2017); normalised before."""

    def __init__(self, channels: int, heads: int, *, rngs: nnx.Rngs):
        inner = channels // heads * heads
        self.heads = heads
        self.norm = LayerNorm(channels)
        self.query, self.key, self.value = (
            Conv(channels, inner, POINT, rngs=rngs) for _ in range(3)
        )
        self.out = Conv(inner, channels, POINT, bias=True, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """`[b, 1, h, w, c]`, the same shape out: what is added to x."""
        x = self.norm(x)
        value = self.value(x)
        if math.prod(value.shape[1:4]) > 1:  # else a token has all its attention
            value = self._attend(self.query(x), self.key(x), value)
        return self.out(value)

    def _attend(self, query: Map, key: Map, value: Map) -> Map:
        b, *_, inner = value.shape
        size = inner // self.heads
        q, k, v = (part.reshape(b, -1, self.heads, size) for part in (query, key, value))
        scores = jnp.einsum("bihd,bjhd->bhij", q, k) * size**-0.5
        return jnp.einsum("bhij,bjhd->bihd", jax.nn.softmax(scores), v).reshape(value.shape)


class FeedForward(nnx.Module):
    """Two layers at each token by itself, GELU between them; normalised before."""

    def __init__(self, channels: int, expansion: int, *, rngs: nnx.Rngs):
        hidden = channels * expansion
        self.norm = LayerNorm(channels)
        self.first = Conv(channels, hidden, POINT, bias=True, rngs=rngs)
        self.second = Conv(hidden, channels, POINT, bias=True, rngs=rngs)

    def __call__(self, x: Map) -> Map:
        """`[b, 1, h, w, c]`, the same shape out: what is added to x."""
        return self.second(jax.nn.gelu(self.first(self.norm(x)), approximate=False))


class Transformer(nnx.Module):
    """A level: in each block a position for each token, then attention and feed-forward in turn."""

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
        """`[b, 1, side, side, c]`, blocks for clips; the same shape out."""
        x = x + self.position[...]
        for layer in self.layers:
            x = x + layer(x)
        return x


class Aggregate(nnx.Module):
    """From a level to the next: what lies side by side is joined, across blocks as well."""

    def __init__(self, c_in: int, c_out: int, *, rngs: nnx.Rngs):
        self.conv = Conv(c_in, c_out, (1, 3, 3), bias=True, rngs=rngs)
        self.norm = LayerNorm(c_out)

    def __call__(self, x: Map) -> Map:
        """`[b, 1, h, w, c_in]` to `[b, 1, h / 2, w / 2, c_out]`."""
        return max_pool2d(self.norm(self.conv(x)), 3, 2, padding=1)


class HTNet(nnx.Module):
    """A hierarchical transformer over four areas of a flow image.

    Args:
      classes: how many.
      side: of the image, px; 28 in the paper. Patches and blocks must divide it.
      settings: the sizes.
      rngs: of the initial weights.

    Raises:
      ValueError: the side is no multiple of what patches, blocks and areas need.
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
        blocks = 2 ** (levels - 1)  # a side, on the first level
        if side % (step := math.lcm(4, self.patch * blocks)):
            raise ValueError(f"a side of {side} px is no multiple of {step}")
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
        """Logits.

        Args:
          x: `[b, 1, side, side, channels]`.
          mask: used by nothing here, as no clip meets another.
          key: used by nothing, as the authors' code drops nothing.

        Returns:
          `[b, 1, classes]`: one head.
        """
        x = self.embed(_patches(areas(x), self.patch))
        for number, level in enumerate(self.levels):
            blocks = 2 ** (len(self.levels) - 1 - number)
            x = _merge_blocks(level(_split_blocks(x, blocks)), blocks)
            if blocks > 1:
                x = self.aggregates[number](x)
        return self.last(global_mean(self.norm(x)).reshape(len(x), -1))[:, None]


def areas(x: Map) -> Map:
    """The four areas as an image of the same size: each has half its side."""
    side = x.shape[2]
    reach = side // 4

    def area(row: int, column: int) -> Map:
        top, left = (
            min(max(middle * side // SIDE, reach), side - reach) - reach for middle in (row, column)
        )
        return x[:, :, top : top + 2 * reach, left : left + 2 * reach]

    rows = [jnp.concatenate([area(*middle) for middle in row], axis=3) for row in AREAS]
    return jnp.concatenate(rows, axis=2)


def _patches(x: Map, size: int) -> Map:
    """Patches as the channels of tokens: `[b, 1, h / size, w / size, size * size * c]`."""
    b, _, h, w, c = x.shape
    cut = x.reshape(b, h // size, size, w // size, size, c).swapaxes(2, 3)
    return cut.reshape(b, 1, h // size, w // size, size * size * c)


def _split_blocks(x: Map, blocks: int) -> Blocks:
    """Blocks for clips: `[b, 1, h, w, c]` to `[b * blocks**2, 1, h / blocks, w / blocks, c]`."""
    b, _, h, w, c = x.shape
    cut = x.reshape(b, blocks, h // blocks, blocks, w // blocks, c).swapaxes(2, 3)
    return cut.reshape(-1, 1, h // blocks, w // blocks, c)


def _merge_blocks(x: Blocks, blocks: int) -> Map:
    """The reverse of `_split`."""
    _, _, h, w, c = x.shape
    laid = x.reshape(-1, blocks, blocks, h, w, c).swapaxes(2, 3)
    return laid.reshape(-1, 1, blocks * h, blocks * w, c)
