"""CapsuleNet (Van Quang, Chun and Tokuyama 2019), for one onset-apex flow a clip.

"CapsuleNet for Micro-Expression Recognition": the front of a ResNet18, a convolution, primary
capsules, and a capsule for each class, which they reach by dynamic routing (Sabour et al. 2017). A
class is as likely as its capsule is long; there is no reconstruction.

The paper sees the apex frame, 224 px, through a ResNet18 that was trained on ImageNet, without its
max-pool and its last stage: 28x28 maps of 256 channels. Here the image is the flow, 28 px, and
nothing is trained before. What differs:

- The stem keeps its 7x7 kernel and drops its stride; stages 2 and 3 keep theirs. So 28, 28, 14 and
  7 px, where the paper has 112, 112, 56 and 28.
- A quarter of the paper's side is left, so the unpadded 9x9 kernels of the convolution and of the
  primary capsules are 3x3: 7, 5 and 2 px for 28, 20 and 6, and 32 capsules of 8 at each, 128 for
  1152.
- All weights are drawn (He), those from capsule to class as the authors' code has them: 0.01.

Followed where the paper is silent: the authors' PyTorch code. Open: whether the gradient passes
through the coupling; there, as here, only the last turn has one, by the votes alone.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import Chain, Conv, ConvBN, Key, Map, Mask, normal
from mser_jax.models.resnet3d import Basic, block

CAPSULES, CAPSULE_LENGTH = 32, 8  # primary ones at each place, and the length of each as a vector
CLASS_LENGTH = 16
ROUTING_ITERATIONS = 3
EPSILON = 1e-12  # below the root of a length, whose slope is infinite at 0

Capsules = Float[Array, "b _i _d"]


class CapsuleNet(nnx.Module):
    """A ResNet18's front and capsules, over horizontal and vertical flow and strain.

    Args:
      classes: how many.
      side: of the image, px; at least 17.
      width: channels of the stem; 64 in the paper.
      rngs: of the initial weights.
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
        places = (((side + 3) // 4 - 3) // 2) ** 2
        self.classes = Votes(places * CAPSULES, classes, rngs=rngs)

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b 1 n"]:
        """The lengths of the class capsules.

        Args:
          x: `[b, 1, side, side, 3]`; 28 x 28.
          mask: `[b]`, False where the batch has no clip; None when it is full.
          key: not used: the paper has no dropout.

        Returns:
          `[b, 1, classes]`, from 0 to less than 1: one head, for the margin loss.
        """
        maps = self.stages(self.stem(x, mask), mask)
        maps = self.primary(jax.nn.relu(self.conv(maps)))
        votes = self.classes(squash(maps.reshape(len(x), -1, CAPSULE_LENGTH)))
        return lengths(route(votes))[:, None]


class Votes(nnx.Module):
    """What each primary capsule expects of each class: a matrix for each pair."""

    def __init__(self, capsules: int, classes: int, *, rngs: nnx.Rngs):
        self.kernel = normal(rngs, (capsules, CAPSULE_LENGTH, classes, CLASS_LENGTH), 0.01)

    def __call__(self, x: Capsules) -> Float[Array, "b i n d"]:
        """`[b, capsules, 8]` to `[b, capsules, classes, 16]`."""
        return jnp.einsum("bik,iknd->bind", x, self.kernel[...])


def route(votes: Float[Array, "b i n d"]) -> Float[Array, "b n d"]:
    """Dynamic routing: a capsule gives itself to the classes that agree with its vote.

    Args:
      votes: of each primary capsule for each class.

    Returns:
      The class capsules.
    """
    fixed = jax.lax.stop_gradient(votes)
    agreement = jnp.zeros(votes.shape[:3], votes.dtype)
    for _ in range(ROUTING_ITERATIONS - 1):
        agreement += jnp.einsum("bind,bnd->bin", fixed, _combine_votes(fixed, agreement))
    return _combine_votes(votes, agreement)


def _combine_votes(votes: Float[Array, "b i n d"], agreement: Float[Array, "b i n"]) -> Array:
    coupling = jax.nn.softmax(agreement, axis=-1)  # of each capsule over the classes
    return squash(jnp.einsum("bin,bind->bnd", coupling, votes))


def squash(x: Capsules) -> Capsules:
    """The same directions; a length l becomes l^2 / (1 + l^2)."""
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    return x * jnp.sqrt(square + EPSILON) / (1 + square)


def lengths(x: Capsules) -> Float[Array, "b _i"]:
    """The length of each capsule."""
    return jnp.sqrt(jnp.sum(x**2, axis=-1) + EPSILON)
