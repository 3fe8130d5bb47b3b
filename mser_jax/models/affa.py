"""Channel attention and attentional feature fusion (section 3.3.3, eq. 3.10 and 3.11)."""

import jax
from flax import nnx

from mser_jax.models.layers import POINT, Chain, ConvBN, Map, Mask, global_max, global_mean


class CAM(nnx.Module):
    """The channel attention of eq. (3.10): sigmoid(L(average) + L'(maximum))."""

    def __init__(self, channels: int, reduction: int, *, rngs: nnx.Rngs):
        self.average, self.maximum = (_squeeze(channels, reduction, rngs) for _ in range(2))

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Compute weights in (0, 1), `[b, 1, 1, 1, c]`, from a map `[b, t, h, w, c]`."""
        average = self.average(global_mean(x), mask)
        return jax.nn.sigmoid(average + self.maximum(global_max(x), mask))


def _squeeze(channels: int, reduction: int, rngs: nnx.Rngs) -> Chain:
    """Create L of eq. (3.10): L(X) = B(f(relu(B(f(pool(X)))))), f a 1x1x1 convolution."""
    middle = max(1, channels // reduction)
    return Chain(
        [
            ConvBN(channels, middle, POINT, rngs=rngs),
            ConvBN(middle, channels, POINT, relu=False, rngs=rngs),
        ]
    )


class AFFA(nnx.Module):
    """Attentional feature fusion: eq. (3.11) applied twice, each time with its own CAM.

    The second pass computes its weights from the first pass's result.
    """

    def __init__(self, channels: int, reduction: int, *, rngs: nnx.Rngs):
        self.first, self.second = (CAM(channels, reduction, rngs=rngs) for _ in range(2))

    def __call__(self, x: Map, y: Map, mask: Mask = None) -> Map:
        """Fuse two maps `[b, t, h, w, c]` into one of the same shape."""
        z = _fuse(self.first(x + y, mask), x, y)
        return _fuse(self.second(z, mask), x, y)


def _fuse(weights: Map, x: Map, y: Map) -> Map:
    """Compute eq. (3.11): Z = w X + (1 - w) Y."""
    return (weights * x + (1 - weights) * y).astype(x.dtype)
