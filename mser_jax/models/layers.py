"""Layers shared by the models: convolution, batch normalisation, and stacks of both.

A batch may hold fewer clips than its slots: `mask` (`[b]`, False where a slot is empty) goes to every
batch normalisation, so that empty slots touch no statistic.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mser_jax.models import conv
from mser_jax.models.conv import Size

he_normal = nnx.initializers.he_normal()  # (4.2: initial weights are open)
MOMENTUM = 0.9  # of the running statistics: Flax's 0.99 is too slow for runs of a few hundred steps
POINT: Size = (1, 1, 1)

Mask = Bool[Array, " b"] | None
Map = Float[Array, "b t h w c"]


class Conv(nnx.Module):
    """A 3-D convolution, with a bias only on request (none before a batch normalisation)."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: Size,
        strides: Size = POINT,
        *,
        bias: bool = False,
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(he_normal(rngs.params(), (*kernel, c_in, c_out)))
        self.bias = nnx.Param(jnp.zeros((1, 1, 1, 1, c_out))) if bias else None
        self.strides = strides

    def __call__(self, x: Map) -> Map:
        """`[b, t, h, w, c_in]` to `[b, t', h', w', c_out]`."""
        y = conv.conv3d(x, self.kernel[...], self.strides)
        return y if self.bias is None else y + self.bias[...]


class DepthwiseConv(nnx.Module):
    """A 3-D convolution of each channel with its own kernel, at stride 1."""

    def __init__(self, channels: int, kernel: Size, *, rngs: nnx.Rngs):
        taps = kernel[0] * kernel[1] * kernel[2]
        scale = (2 / taps) ** 0.5  # He: a channel sees `taps` inputs
        self.kernel = nnx.Param(
            scale * jax.random.normal(rngs.params(), (*kernel, channels), jnp.float32)
        )

    def __call__(self, x: Map) -> Map:
        """`[b, t, h, w, c]`, the same shape out."""
        return conv.depthwise_conv3d(x, self.kernel[...])


class BatchNorm(nnx.Module):
    """Batch normalisation over clips, time and space, blind to the empty slots of a batch."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.norm = nnx.BatchNorm(
            channels,
            momentum=MOMENTUM,
            use_fast_variance=False,
            use_running_average=False,
            rngs=rngs,
        )

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c]`, the same shape out."""
        return self.norm(x, mask=None if mask is None else mask.reshape(-1, 1, 1, 1, 1))


class ConvBN(nnx.Module):
    """Convolution, batch normalisation and, unless it is told otherwise, ReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: Size,
        strides: Size = POINT,
        *,
        relu: bool = True,
        depthwise: bool = False,
        rngs: nnx.Rngs,
    ):
        self.conv = (
            DepthwiseConv(c_in, kernel, rngs=rngs)
            if depthwise
            else Conv(c_in, c_out, kernel, strides, rngs=rngs)
        )
        self.norm = BatchNorm(c_out, rngs=rngs)
        self.relu = relu

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c_in]` to `[b, t', h', w', c_out]`."""
        y = self.norm(self.conv(x), mask)
        return jax.nn.relu(y) if self.relu else y


class Chain(nnx.Module):
    """Layers that take `(x, mask)`, one after the other."""

    def __init__(self, layers: Sequence[nnx.Module]):
        self.layers = nnx.List(layers)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Apply the layers in order."""
        for layer in self.layers:
            x = layer(x, mask)  # pyright: ignore[reportCallIssue]
        return x


def global_mean(x: Map) -> Float[Array, "b 1 1 1 c"]:
    """The mean of each channel over time and space, as a 1x1x1 map."""
    return jnp.mean(x, axis=(1, 2, 3), keepdims=True)


def global_max(x: Map) -> Float[Array, "b 1 1 1 c"]:
    """The maximum of each channel over time and space, as a 1x1x1 map."""
    return jnp.max(x, axis=(1, 2, 3), keepdims=True)
