"""The spatial multi-scale modules RC1, RC2 and RC3 (section 3.3.2, eq. 3.8 and 3.9)."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import CUBE, POINT, Chain, ConvBN, Map, Mask, global_mean
from mser_jax.models.ops.conv import Size

LONG_CHAIN: tuple[Size, ...] = ((1, 1, 7), (1, 7, 1), (7, 1, 1))
SHORT_CHAIN: tuple[Size, ...] = ((1, 1, 3), (1, 3, 1), (3, 1, 1))
# An entry of the `names` of an RC module, which name the maps it sums, in their order.
AVERAGE = "global average"


@dataclasses.dataclass(frozen=True)
class BranchStyle:
    """Design choices in the branches of an RC module that the paper leaves open.

    Attributes:
      reduction: Factor by which the first 1x1x1 convolution of a branch reduces the channels.
      restore: Layer that restores the channels: 'last' for the last convolution of the branch,
        'pointwise' for an additional 1x1x1.
      chain: Kind of the directional kernels of a chain: 'factorised' kernels see every channel;
        'depthwise' ones see only their own, and a 1x1x1 ends the branch.
      weights: Kind of the fusion weights, 'softmax' or 'free'.
    """

    reduction: int = 4
    restore: str = "last"
    chain: str = "factorised"
    weights: str = "softmax"


def branch(
    c_in: int,
    middle: int,
    c_out: int,
    kernels: Sequence[Size],
    style: BranchStyle,
    rngs: nnx.Rngs,
    *,
    temporal: bool = True,
) -> Chain:
    """Create a branch: convolutions in a sequence, without ReLU after the last.

    Args:
      c_in: Channels of the input.
      middle: Channels between the convolutions.
      c_out: Channels of the output.
      kernels: Sizes of the convolutions, in order.
      style: Design choices of the branch.
      rngs: Random generators for the initial weights.
      temporal: If False, each kernel is reduced to one time step. All layers stay; the links over
        time of a chain are then 1x1x1.
    """
    kernels = list(kernels)
    depthwise = [style.chain == "depthwise" and sum(k > 1 for k in size) == 1 for size in kernels]
    if kernels != [POINT] and (style.restore == "pointwise" or depthwise[-1]):
        kernels.append(POINT)
        depthwise.append(False)
    last = len(kernels) - 1
    return Chain(
        [
            ConvBN(
                c_in if step == 0 else middle,
                c_out if step == last else middle,
                size,
                relu=step != last,
                depthwise=depthwise[step],
                temporal=temporal,
                rngs=rngs,
            )
            for step, size in enumerate(kernels)
        ]
    )


class FusionWeights(nnx.Module):
    """The learned weights alpha, beta, gamma, ... of eq. (3.8) and (3.9), equal at the start."""

    def __init__(self, count: int, normalisation: str):
        self.softmax = normalisation == "softmax"
        self.weights = nnx.Param(jnp.full((count,), 0.0 if self.softmax else 1 / count))

    def __call__(self, maps: Sequence[Map]) -> Map:
        """Compute K = alpha X1 + beta X2 + ..., eq. (3.8) and (3.9).

        Args:
          maps: Maps `[b, t, h, w, c]`; those of size 1x1x1 are broadcast.
        """
        weights = self.normalised_weights()
        terms = [weights[index] * x for index, x in enumerate(maps)]
        return sum(terms[1:], terms[0]).astype(maps[0].dtype)

    def normalised_weights(self) -> Float[Array, " n"]:
        """Return the weights of the sum; with softmax they are positive and sum to 1."""
        weights = self.weights[...]
        return jax.nn.softmax(weights) if self.softmax else weights


class RC1(nnx.Module):
    """RC1 after block 2, eq. (3.8): 1x1x1; 3x3x3; two 3x3x3 for 5x5x5; the global average."""

    names = ("1x1x1", "3x3x3", "two 3x3x3 (for 5x5x5)", AVERAGE)

    def __init__(self, channels: int, style: BranchStyle, *, temporal: bool = True, rngs: nnx.Rngs):
        kernels = ([POINT], [POINT, CUBE], [POINT, CUBE, CUBE])
        self.branches = _branches(channels, kernels, style, rngs, temporal)
        self.fuse = FusionWeights(len(self.branches) + 1, style.weights)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Fuse the branches over a map `[b, t, h, w, c]`, keeping its shape."""
        return self.fuse([*(b(x, mask) for b in self.branches), global_mean(x)])


class RC2(nnx.Module):
    """RC2 after block 3, eq. (3.8): 1x1x1, a long chain, two long chains, the global average.

    A long chain stands for 7x7x7, two of them for 9x9x9.
    """

    names = ("1x1x1", "long chain (for 7x7x7)", "two long chains (for 9x9x9)", AVERAGE)

    def __init__(self, channels: int, style: BranchStyle, *, temporal: bool = True, rngs: nnx.Rngs):
        kernels = ([POINT], [POINT, *LONG_CHAIN], [POINT, *LONG_CHAIN, *LONG_CHAIN])
        self.branches = _branches(channels, kernels, style, rngs, temporal)
        self.fuse = FusionWeights(len(self.branches) + 1, style.weights)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Fuse the branches over a map `[b, t, h, w, c]`, keeping its shape."""
        return self.fuse([*(b(x, mask) for b in self.branches), global_mean(x)])


class RC3(nnx.Module):
    """RC3 after block 4, eq. (3.9): eight maps from four branches.

    X1..X3: a short chain, then three directional convolutions. X4..X6: the three directional
    convolutions alone. X7: 1x1x1. X8: the global average.
    """

    names = (
        "short chain, 1x1x3",
        "short chain, 1x3x1",
        "short chain, 3x1x1",
        "1x1x3",
        "1x3x1",
        "3x1x1",
        "1x1x1",
        AVERAGE,
    )

    def __init__(self, channels: int, style: BranchStyle, *, temporal: bool = True, rngs: nnx.Rngs):
        middle = max(1, channels // style.reduction)
        self.chained = _trunk(channels, middle, [POINT, *SHORT_CHAIN], style, rngs, temporal)
        self.plain = _trunk(channels, middle, [POINT], style, rngs, temporal)
        # The three directional convolutions see every channel, whatever the style of the chain.
        factorised = dataclasses.replace(style, chain="factorised")
        self.chained_tails, self.plain_tails = (
            nnx.List(
                [
                    branch(middle, middle, channels, [size], factorised, rngs, temporal=temporal)
                    for size in SHORT_CHAIN
                ]
            )
            for _ in range(2)
        )
        self.point = branch(channels, middle, channels, [POINT], style, rngs)
        self.fuse = FusionWeights(8, style.weights)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Fuse the branches over a map `[b, t, h, w, c]`, keeping its shape."""
        chained, plain = self.chained(x, mask), self.plain(x, mask)
        maps = [tail(chained, mask) for tail in self.chained_tails]
        maps += [tail(plain, mask) for tail in self.plain_tails]
        return self.fuse([*maps, self.point(x, mask), global_mean(x)])


def _branches(
    channels: int,
    kernels: Sequence[Sequence[Size]],
    style: BranchStyle,
    rngs: nnx.Rngs,
    temporal: bool,
) -> nnx.List:
    middle = max(1, channels // style.reduction)
    return nnx.List(
        [branch(channels, middle, channels, k, style, rngs, temporal=temporal) for k in kernels]
    )


def _trunk(
    channels: int,
    middle: int,
    kernels: Sequence[Size],
    style: BranchStyle,
    rngs: nnx.Rngs,
    temporal: bool,
) -> Chain:
    """Create the layers that three directional convolutions share, all with ReLU."""
    depthwise = style.chain == "depthwise"
    return Chain(
        [
            ConvBN(
                channels if step == 0 else middle,
                middle,
                size,
                depthwise=depthwise and size != POINT,
                temporal=temporal,
                rngs=rngs,
            )
            for step, size in enumerate(kernels)
        ]
    )
