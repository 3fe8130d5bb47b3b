"""Layers shared by the models: convolution, batch normalisation, and stacks of both.

A batch may hold fewer clips than its slots: `mask` (`[b]`, False where a slot is empty) goes to
every batch normalisation, so that empty slots touch no statistic.

A layer computes in the type of its input and casts its weights to it; they, the statistics and the
global means stay in float32 (or float64) where the maps are bfloat16.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mser_jax.models import conv
from mser_jax.models.conv import Size

MOMENTUM = 0.9  # of the running statistics: Flax's 0.99 is too slow for runs of a few hundred steps
POINT: Size = (1, 1, 1)
CUBE: Size = (3, 3, 3)

Mask = Bool[Array, " b"] | None
Map = Float[Array, "b t h w c"]


def he_normal(rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int) -> nnx.Param:
    """A weight drawn as He et al. (2015) do for ReLU (4.2: open); it remembers its deviation."""
    deviation = (2 / fan_in) ** 0.5
    return nnx.Param(deviation * jax.random.normal(rngs.params(), shape), deviation=deviation)


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
        self.kernel = he_normal(rngs, (*kernel, c_in, c_out), math.prod(kernel) * c_in)
        self.bias = nnx.Param(jnp.zeros((1, 1, 1, 1, c_out))) if bias else None
        self.strides = strides

    def __call__(self, x: Map) -> Map:
        """`[b, t, h, w, c_in]` to `[b, t', h', w', c_out]`."""
        y = conv.conv3d(x, self.kernel[...].astype(x.dtype), self.strides)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class DepthwiseConv(nnx.Module):
    """A 3-D convolution of each channel with its own kernel, at stride 1."""

    def __init__(self, channels: int, kernel: Size, *, rngs: nnx.Rngs):
        self.kernel = he_normal(rngs, (*kernel, channels), math.prod(kernel))

    def __call__(self, x: Map) -> Map:
        """`[b, t, h, w, c]`, the same shape out."""
        return conv.depthwise_conv3d(x, self.kernel[...].astype(x.dtype))


class Statistic(nnx.BatchStat):
    """A running statistic, replaced whole.

    Flax compares the shardings of the old value and the new one first. Under a trace there is none,
    and JAX searches all that was traced so far for the words of an error that nobody reads.
    """

    def __setitem__(self, key: object, value: Array) -> None:
        """Ignore the key, which is always `...`."""
        self.set_value(value)


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
        self.norm.mean = Statistic(jnp.zeros(channels))
        self.norm.var = Statistic(jnp.ones(channels))

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c]`, the same shape out; computed in float32 at least."""
        valid = None if mask is None else mask.reshape(-1, 1, 1, 1, 1)
        return self.norm(x, mask=valid).astype(x.dtype)


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


class Dense(nnx.Module):
    """A fully connected layer."""

    def __init__(self, c_in: int, c_out: int, *, rngs: nnx.Rngs):
        self.kernel = he_normal(rngs, (c_in, c_out), c_in)
        self.bias = nnx.Param(jnp.zeros((1, c_out)))

    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b o"]:
        """`[b, c_in]` to `[b, c_out]`."""
        return x @ self.kernel[...] + self.bias[...]


class Chain(nnx.Module):
    """Layers that take `(x, mask)`, one after the other."""

    def __init__(self, layers: Sequence[nnx.Module]):
        self.layers = nnx.List(layers)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Apply the layers in order."""
        for layer in self.layers:
            x = layer(x, mask)  # pyright: ignore[reportCallIssue]
        return x


def mean(x: Map, axes: Sequence[int]) -> Map:
    """The mean over axes, which stay as 1; in float32 at least, whatever the maps are."""
    return jnp.mean(_wide(x), axis=tuple(axes), keepdims=True)


def global_mean(x: Map) -> Float[Array, "b 1 1 1 c"]:
    """The mean of each channel over time and space, as a 1x1x1 map; in float32 at least."""
    return mean(x, (1, 2, 3))


def global_max(x: Map) -> Float[Array, "b 1 1 1 c"]:
    """The maximum of each channel over time and space, as a 1x1x1 map; in float32 at least."""
    return _wide(maximum(x, (1, 2, 3)))


def _wide(x: Map) -> Map:
    """Float32 in place of a narrower type; float64 stays."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def maximum(x: Map, axes: Sequence[int]) -> Map:
    """The maximum over axes, which stay as 1; the gradient goes to the first place that holds it.

    The gradient of `jnp.max` divides by the number of places equal to the maximum. A compiler that
    computes x twice and rounds it in two ways finds none, and the gradient is NaN.
    """
    for axis in axes:
        first = jnp.argmax(x, axis=axis, keepdims=True)
        places = jax.lax.broadcasted_iota(first.dtype, x.shape, axis)
        x = jnp.sum(jnp.where(places == first, x, 0.0), axis=axis, keepdims=True)
    return x
