"""CapsuleNet (Van Quang, Chun and Tokuyama 2019), for one onset-apex flow per clip.

"CapsuleNet for Micro-Expression Recognition": the front of a ResNet18, a convolution, primary
capsules, and one capsule per class. Dynamic routing (Sabour et al. 2017) connects the primary
capsules to the class capsules. The length of a class capsule stands for the probability of the
class. There is no reconstruction.

The paper's input is the apex frame, 224 px. Its ResNet18 is pretrained on ImageNet and lacks the
max-pool and the last stage, which gives 28x28 maps of 256 channels. Here the input is the flow,
28 px, and nothing is pretrained. The differences:

- The stem keeps its 7x7 kernel but has no stride; stages 2 and 3 keep their strides. So the sides
  are 28, 28, 14 and 7 px instead of 112, 112, 56 and 28.
- The maps have a quarter of the paper's side. So the unpadded 9x9 kernels of the convolution and
  the primary capsules become 3x3, and the sides are 7, 5 and 2 px instead of 28, 20 and 6. With 32
  capsules of length 8 at each position there are 128 capsules instead of 1152.
- All weights are drawn by He's rule, except those from capsule to class, which have the deviation
  of the authors' code, 0.01.

Where the paper is silent, this follows the authors' PyTorch code. Open: whether the gradient passes
through the coupling. In that code, as here, only the last routing iteration has a gradient, and
only through the votes.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import Chain, Conv, ConvBN, Key, Map, Mask, normal
from mser_jax.models.resnet3d import Basic, block

CAPSULES, CAPSULE_LENGTH = 32, 8  # primary capsules at each position, and entries of each
CLASS_LENGTH = 16  # entries of a class capsule
ROUTING_ITERATIONS = 3
EPSILON = 1e-12  # added under the square root of a length, whose slope is infinite at 0

Capsules = Float[Array, "b _i _d"]


class CapsuleNet(nnx.Module):
    """Capsules on top of the first layers of a ResNet18.

    The input is horizontal flow, vertical flow and strain.

    Args:
      classes: Number of classes.
      side: Side of the image, px; at least 17.
      width: Channels of the stem; 64 in the paper.
      rngs: Random generators for the initial weights.
    """

    def __init__(self, classes: int, *, side: int = 28, width: int = 64, rngs: nnx.Rngs):
        deep = 4 * width
        self.stem = ConvBN(3, width, (1, 7, 7), rngs=rngs)
        self.stages = Chain(
            [
                block(Basic, width, width, 2, 1, rngs, temporal=False),
                block(Basic, width, 2 * width, 2, 2, rngs, temporal=False),
                block(Basic, 2 * width, deep, 2, 2, rngs, temporal=False),
            ]
        )
        self.conv = Conv(deep, deep, (1, 3, 3), bias=True, padded=False, rngs=rngs)
        self.primary = Conv(
            deep,
            CAPSULES * CAPSULE_LENGTH,
            (1, 3, 3),
            (1, 2, 2),
            bias=True,
            padded=False,
            rngs=rngs,
        )
        positions = (((side + 3) // 4 - 3) // 2) ** 2
        self.classes = Votes(positions * CAPSULES, classes, rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b 1 n"]:
        """Compute the lengths of the class capsules.

        Args:
          x: Images `[b, 1, side, side, 3]`, by default 28 x 28.
          mask: `[b]`, False where a slot is empty; None if the batch is full.
          key: Unused, because the paper has no dropout.

        Returns:
          Lengths `[b, 1, classes]` in [0, 1) of the one head, for the margin loss.
        """
        maps = self.stages(self.stem(x, mask), mask)
        maps = self.primary(jax.nn.relu(self.conv(maps)))
        votes = self.classes(squash(maps.reshape(len(x), -1, CAPSULE_LENGTH)))
        return lengths(route(votes))[:, None]


class Votes(nnx.Module):
    """The votes of each primary capsule for each class capsule: one matrix per pair."""

    def __init__(self, capsules: int, classes: int, *, rngs: nnx.Rngs):
        self.kernel = normal(rngs, (capsules, CAPSULE_LENGTH, classes, CLASS_LENGTH), 0.01)

    def __call__(self, x: Capsules) -> Float[Array, "b i n d"]:
        """Map capsules `[b, capsules, 8]` to votes `[b, capsules, classes, 16]`."""
        return jnp.einsum("bik,iknd->bind", x, self.kernel[...])


def route(votes: Float[Array, "b i n d"]) -> Float[Array, "b n d"]:
    """Compute the class capsules by dynamic routing.

    A capsule's coupling grows to the classes that agree with its vote.

    Args:
      votes: Votes of each primary capsule for each class, `[b, capsules, classes, 16]`.

    Returns:
      Class capsules `[b, classes, 16]`.
    """
    fixed_votes = jax.lax.stop_gradient(votes)
    agreement = jnp.zeros(votes.shape[:3], votes.dtype)
    for _ in range(ROUTING_ITERATIONS - 1):
        agreement += jnp.einsum(
            "bind,bnd->bin", fixed_votes, _combine_votes(fixed_votes, agreement)
        )
    return _combine_votes(votes, agreement)


def _combine_votes(votes: Float[Array, "b i n d"], agreement: Float[Array, "b i n"]) -> Array:
    coupling = jax.nn.softmax(agreement, axis=-1)  # over the classes, for each capsule
    return squash(jnp.einsum("bin,bind->bnd", coupling, votes))


def squash(x: Capsules) -> Capsules:
    """Scale the capsules so that a length l becomes l^2 / (1 + l^2)."""
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    return x * jnp.sqrt(square + EPSILON) / (1 + square)


def lengths(x: Capsules) -> Float[Array, "b _i"]:
    """Compute the length of each capsule."""
    return jnp.sqrt(jnp.sum(x**2, axis=-1) + EPSILON)
