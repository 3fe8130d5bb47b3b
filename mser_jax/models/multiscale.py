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
AVERAGE = "global average"  # in the names of what an RC module sums, which are in its order


@dataclasses.dataclass(frozen=True)
class BranchStyle:
    """What the paper leaves open in the branches of an RC module.

    Attributes:
      reduction: by how much a branch's leading 1x1x1 reduces the channels.
      restore: 'last': the last convolution brings them back; 'pointwise': one more 1x1x1 does.
      chain: 'factorised': the directional kernels of a chain see every channel; 'depthwise': each
        its own, and a 1x1x1 closes the branch.
      weights: 'softmax' or 'free' fusion weights.
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
    """`kernels` in order, at `middle` channels between `c_in` and `c_out`; no ReLU at the end.

    Without `temporal` each layer stays, with its kernel cut to one time step: the links over time
    of a chain are then 1x1x1.
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
    """The learned weights alpha, beta, gamma, ... of eq. 3.8 and 3.9; all equal at the start."""

    def __init__(self, count: int, normalisation: str):
        self.softmax = normalisation == "softmax"
        self.weights = nnx.Param(jnp.full((count,), 0.0 if self.softmax else 1 / count))

    def __call__(self, maps: Sequence[Map]) -> Map:
        """Eq. (3.8), (3.9): K = alpha X1 + beta X2 + ...; 1x1x1 maps are broadcast."""
        weights = self.normalised_weights()
        terms = [weights[position] * x for position, x in enumerate(maps)]
        return sum(terms[1:], terms[0]).astype(maps[0].dtype)

    def normalised_weights(self) -> Float[Array, " n"]:
        """The weights as the sum takes them: with softmax they are positive and sum to 1."""
        weights = self.weights[...]
        return jax.nn.softmax(weights) if self.softmax else weights


class RC1(nnx.Module):
    """Eq. (3.8) after block 2: 1x1x1; 3x3x3; two 3x3x3 in place of 5x5x5; the global average."""

    names = ("1x1x1", "3x3x3", "two 3x3x3 (for 5x5x5)", AVERAGE)

    def __init__(self, channels: int, style: BranchStyle, *, temporal: bool = True, rngs: nnx.Rngs):
        kernels = ([POINT], [POINT, CUBE], [POINT, CUBE, CUBE])
        self.branches = _branches(channels, kernels, style, rngs, temporal)
        self.fuse = FusionWeights(len(self.branches) + 1, style.weights)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c]`, the same shape out."""
        return self.fuse([*(b(x, mask) for b in self.branches), global_mean(x)])


class RC2(nnx.Module):
    """Eq. (3.8) after block 3: 1x1x1; a long chain for 7x7x7; two for 9x9x9; the global average."""

    names = ("1x1x1", "long chain (for 7x7x7)", "two long chains (for 9x9x9)", AVERAGE)

    def __init__(self, channels: int, style: BranchStyle, *, temporal: bool = True, rngs: nnx.Rngs):
        kernels = ([POINT], [POINT, *LONG_CHAIN], [POINT, *LONG_CHAIN, *LONG_CHAIN])
        self.branches = _branches(channels, kernels, style, rngs, temporal)
        self.fuse = FusionWeights(len(self.branches) + 1, style.weights)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c]`, the same shape out."""
        return self.fuse([*(b(x, mask) for b in self.branches), global_mean(x)])


class RC3(nnx.Module):
    """Eq. (3.9) after block 4: eight maps of four branches.

    X1..X3: a short chain, then three directional convolutions; X4..X6: the three alone; X7: 1x1x1;
    X8: the global average.
    """

    names = (
        *("short chain, 1x1x3", "short chain, 1x3x1", "short chain, 3x1x1"),
        *("1x1x3", "1x3x1", "3x1x1", "1x1x1", AVERAGE),
    )

    def __init__(self, channels: int, style: BranchStyle, *, temporal: bool = True, rngs: nnx.Rngs):
        middle = max(1, channels // style.reduction)
        self.chained = _trunk(channels, middle, [POINT, *SHORT_CHAIN], style, rngs, temporal)
        self.plain = _trunk(channels, middle, [POINT], style, rngs, temporal)
        full = dataclasses.replace(style, chain="factorised")  # directional ones see every channel
        self.chained_tails, self.plain_tails = (
            nnx.List(
                [
                    branch(middle, middle, channels, [size], full, rngs, temporal=temporal)
                    for size in SHORT_CHAIN
                ]
            )
            for _ in range(2)
        )
        self.point = branch(channels, middle, channels, [POINT], style, rngs)
        self.fuse = FusionWeights(8, style.weights)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c]`, the same shape out."""
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
    """What the three directional convolutions of RC3 share: ReLU after each layer."""
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
