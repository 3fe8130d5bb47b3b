"""Layers shared by the models: convolution, batch normalisation, and stacks of both.

A batch may hold fewer clips than its slots: `mask` (`[b]`, False where a slot is empty) goes to
every batch normalisation, so that empty slots touch no statistic.

A layer computes in the type of its input and casts its weights to it; they, the statistics and the
global means stay in float32 (or float64) where the maps are bfloat16.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mser_jax.models.ops import conv
from mser_jax.models.ops.conv import Size

# Of the running statistics: Flax's 0.99 is too slow for runs of a few hundred steps.
MOMENTUM = 0.9
EPSILON = 1e-5
POINT: Size = (1, 1, 1)
CUBE: Size = (3, 3, 3)

Mask = Bool[Array, " b"] | None
Key = jax.Array | None
# The sizes may differ between what goes in and what comes out: `_` leaves them unbound.
Map = Float[Array, "b _t _h _w _c"]
Moments = tuple[Float[Array, " c"], Float[Array, " c"]]  # mean and variance of each channel


def he_normal(rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int) -> nnx.Param:
    """A weight drawn as He et al. (2015) do for ReLU (4.2: open)."""
    return normal(rngs, shape, (2 / fan_in) ** 0.5)


def torch_deviation(fan_in: int) -> float:
    """The deviation of the uniform weights that PyTorch draws unless it is told otherwise."""
    return (3 * fan_in) ** -0.5


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], deviation: float) -> nnx.Param:
    """A weight drawn around 0; it remembers its deviation."""
    return nnx.Param(deviation * jax.random.normal(rngs.params(), shape), deviation=deviation)


def _weight(
    rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int, deviation: float | None
) -> nnx.Param:
    """As He et al. draw it, or with another deviation."""
    return he_normal(rngs, shape, fan_in) if deviation is None else normal(rngs, shape, deviation)


def spatial_size(size: Size) -> Size:
    """The size of a kernel, cut to one time step."""
    return 1, size[1], size[2]


class Conv(nnx.Module):
    """A 3-D convolution, with a bias only on request (none before a batch normalisation).

    Weights are as He et al. draw them, or with another deviation. Unpadded, it gives what lies
    whole inside the image: each side loses the kernel's size less one.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: Size,
        strides: Size = POINT,
        *,
        bias: bool = False,
        padded: bool = True,
        deviation: float | None = None,
        rngs: nnx.Rngs,
    ):
        shape = *kernel, c_in, c_out
        self.kernel = _weight(rngs, shape, math.prod(kernel) * c_in, deviation)
        self.bias = nnx.Param(jnp.zeros((1, 1, 1, 1, c_out))) if bias else None
        self.strides = strides
        self.padded = padded

    def __call__(self, x: Map) -> Map:
        """`[b, t, h, w, c_in]` to `[b, t', h', w', c_out]`."""
        kernel = self.kernel[...].astype(x.dtype)
        y = conv.conv3d(x, kernel, self.strides) if self.padded else self._conv_valid(x, kernel)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)

    def _conv_valid(self, x: Map, kernel: Array) -> Map:
        """The places of the padded convolution that see no padding, every stride."""
        margins = [size // 2 for size in kernel.shape[:3]]
        inside = (
            slice(margin, side - margin, stride)
            for margin, side, stride in zip(margins, x.shape[1:4], self.strides)
        )
        return conv.conv3d(x, kernel)[:, *inside]


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
    """Batch normalisation over clips, time and space (Ioffe and Szegedy 2015).

    Flax's takes a mask too, and selects by it at every element. Here the mask weighs the sums of
    whole clips, and the passes over the map are few (benchmarks/norm.py measures both).
    """

    def __init__(self, channels: int):
        self.scale, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))
        self.mean, self.var = Statistic(jnp.zeros(channels)), Statistic(jnp.ones(channels))
        self.use_running_average = False

    def set_view(self, use_running_average: bool | None = None) -> None:
        """For `nnx.view`: the running statistics normalise, or in training the batch's own."""
        if use_running_average is not None:
            self.use_running_average = use_running_average

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c]`, the same shape out; computed in float32 at least."""
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return _normalise(x, *(v.astype(wide) for v in self.affine(lambda: _moments(x, mask))))

    def affine(self, compute_moments: Callable[[], Moments]) -> tuple[Array, Array, Array]:
        """Mean, factor and bias `[c]`: a channel becomes `(x - mean) * factor + bias`.

        Args:
          compute_moments: gives those of the batch; asked, and followed by the running ones, in training.
        """
        mean, variance = self.mean[...], self.var[...]
        if not self.use_running_average:
            mean, variance = compute_moments()
            self.mean[...] = MOMENTUM * self.mean[...] + (1 - MOMENTUM) * mean
            self.var[...] = MOMENTUM * self.var[...] + (1 - MOMENTUM) * variance
        return mean, self.scale[...] * jax.lax.rsqrt(variance + EPSILON), self.bias[...]


# The gradient is written out, and without x - mean: else the compiler writes that to memory as a
# second map. The map is kept in its own type, and widened when it is read.


@jax.custom_vjp
def _normalise(x: Map, mean: Array, factor: Array, bias: Array) -> Map:
    y = (_widen(x) - _by_channel(mean)) * _by_channel(factor) + _by_channel(bias)
    return y.astype(x.dtype)


def _normalise_forward(x: Map, mean: Array, factor: Array, bias: Array):
    return _normalise(x, mean, factor, bias), (x, mean, factor)


def _normalise_backward(residuals, gradient: Map):
    x, mean, factor = residuals
    gradient = _widen(gradient)
    by_bias = jnp.sum(gradient, axis=(0, 1, 2, 3))
    by_factor = jnp.sum(gradient * _widen(x), axis=(0, 1, 2, 3)) - mean * by_bias
    by_x = (gradient * _by_channel(factor)).astype(x.dtype)
    return by_x, -factor * by_bias, by_factor, by_bias


_normalise.defvjp(_normalise_forward, _normalise_backward)


def _moments(x: Map, mask: Mask) -> Moments:
    each = math.prod(x.shape[1:-1])
    clip_mean, clip_square = (jnp.sum(_widen(x) ** n, axis=(1, 2, 3)) / each for n in (1, 2))
    return batch_moments(clip_mean, clip_square, mask)


def batch_moments(clip_mean: Array, clip_square: Array, mask: Mask, axis: int = 0) -> Moments:
    """Mean and (biased) variance of each channel over the clips that are there; 0 of none.

    Within each clip as Flax does it, E[x^2] - E[x]^2: one pass; among the clips exactly.

    Args:
      clip_mean: E[x] of each clip and channel, `[b, c]` or `[c, b]`.
      clip_square: E[x^2], as `clip_mean`.
      mask: `[b]`, which clips are there.
      axis: that of the clips.
    """
    within = jnp.maximum(clip_square - clip_mean**2, 0)
    count = clip_mean.shape[axis] if mask is None else jnp.maximum(jnp.sum(mask), 1)

    def average(values: Array) -> Float[Array, " c"]:
        there = values if mask is None else jnp.where(jnp.expand_dims(mask, 1 - axis), values, 0)
        return jnp.sum(there, axis) / count

    mean = average(clip_mean)
    return mean, average(within + (clip_mean - jnp.expand_dims(mean, axis)) ** 2)


def _by_channel(values: Float[Array, " c"]) -> Float[Array, "1 1 1 1 c"]:
    return values.reshape(1, 1, 1, 1, -1)


class ConvBN(nnx.Module):
    """Convolution, batch normalisation and, unless it is told otherwise, ReLU.

    Without `temporal` the kernel is cut to one time step.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: Size,
        strides: Size = POINT,
        *,
        relu: bool = True,
        depthwise: bool = False,
        padded: bool = True,
        temporal: bool = True,
        rngs: nnx.Rngs,
    ):
        kernel = kernel if temporal else spatial_size(kernel)
        self.conv = (
            DepthwiseConv(c_in, kernel, rngs=rngs)
            if depthwise
            else Conv(c_in, c_out, kernel, strides, padded=padded, rngs=rngs)
        )
        self.norm = BatchNorm(c_out)
        self.relu = relu

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c_in]` to `[b, t', h', w', c_out]`."""
        y = self.norm(self.conv(x), mask)
        return jax.nn.relu(y) if self.relu else y


class Dense(nnx.Module):
    """A fully connected layer; its weights as He et al. draw them, or with another deviation."""

    def __init__(self, c_in: int, c_out: int, *, deviation: float | None = None, rngs: nnx.Rngs):
        self.kernel = _weight(rngs, (c_in, c_out), c_in, deviation)
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


def dropout(x: Float[Array, "b c"], rate: float, key: Key) -> Float[Array, "b c"]:
    """Set a share of the entries to 0 and enlarge the others, so that the mean stays.

    Args:
      x: the entries, each kept or dropped by itself.
      rate: the share that is dropped, at least 0 and less than 1.
      key: what decides; None drops nothing.

    Returns:
      x, where it is kept divided by `1 - rate`.

    References:
      Srivastava et al. (2014), Dropout: a simple way to prevent neural networks from overfitting;
      section 10, the variant whose test network needs no scaling.
    """
    if key is None:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0.0)


def mean(x: Map, axes: Sequence[int]) -> Map:
    """The mean over axes, which stay as 1; in float32 at least, whatever the maps are."""
    return jnp.mean(_widen(x), axis=tuple(axes), keepdims=True)


def global_mean(x: Map) -> Float[Array, "b 1 1 1 c"]:
    """The mean of each channel over time and space, as a 1x1x1 map; in float32 at least."""
    return mean(x, (1, 2, 3))


def global_max(x: Map) -> Float[Array, "b 1 1 1 c"]:
    """The maximum of each channel over time and space, as a 1x1x1 map; in float32 at least."""
    return _widen(maximum(x, (1, 2, 3)))


def _widen(x: Map) -> Map:
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
