"""Layers shared by the models: convolution, batch normalisation, and stacks of both.

A batch may hold fewer clips than it has slots. `mask` (`[b]`, False where a slot is empty) goes to
every batch normalisation, so that empty slots do not affect the statistics.

A layer computes in the dtype of its input and casts its weights to that dtype. The weights, the
statistics and the global means stay in float32 (or float64) even if the maps are bfloat16.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mser_jax.models.ops import conv
from mser_jax.models.ops.conv import Size

# Momentum of the running statistics: Flax's 0.99 is too slow for runs of a few hundred steps.
MOMENTUM = 0.9
EPSILON = 1e-5
POINT: Size = (1, 1, 1)
CUBE: Size = (3, 3, 3)

Mask = Bool[Array, " b"] | None
Key = jax.Array | None
# `_` leaves the sizes unbound, because they may differ between a layer's input and its output.
Map = Float[Array, "b _t _h _w _c"]
Moments = tuple[Float[Array, " c"], Float[Array, " c"]]  # mean and variance of each channel


def he_normal(rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int) -> nnx.Param:
    """Create a weight by the rule of He et al. (2015) for ReLU.

    Section 4.2 leaves the initialisation open.

    Args:
      rngs: Random generators.
      shape: Shape of the weight.
      fan_in: Number of inputs of one output; the variance is 2 / fan_in.
    """
    return normal(rngs, shape, (2 / fan_in) ** 0.5)


def torch_deviation(fan_in: int) -> float:
    """Return the deviation of the uniform weights that PyTorch draws by default."""
    return (3 * fan_in) ** -0.5


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], deviation: float) -> nnx.Param:
    """Create a normally distributed weight of mean 0.

    Args:
      rngs: Random generators.
      shape: Shape of the weight.
      deviation: Standard deviation. It is also stored in the variable's metadata, from which
        `network.functional` draws all weights again in one call.
    """
    return nnx.Param(deviation * jax.random.normal(rngs.params(), shape), deviation=deviation)


def _weight(
    rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int, deviation: float | None
) -> nnx.Param:
    """Create a weight with a given standard deviation, or by He's rule if it is None."""
    return he_normal(rngs, shape, fan_in) if deviation is None else normal(rngs, shape, deviation)


class LoweringModule(nnx.Module):
    """A module that computes by `ops.conv`, in the lowering that it was given.

    The lowering changes no parameter. So it is no argument of the constructors: like the use of the
    running averages, `nnx.view` gives it to every module of a network.
    """

    lowering = "auto"

    def set_view(self, lowering: str | None = None) -> None:
        """Choose the lowering, 'auto' or one of `conv.LOWERINGS`; `nnx.view` calls this."""
        if lowering is not None:
            conv.check_lowering(lowering)
            self.lowering = lowering


class Conv(LoweringModule):
    """A 3-D convolution, by default without bias (as before a batch normalisation).

    Weights are drawn by He's rule, or with the given standard deviation. Without padding, the
    output covers only positions where the kernel lies completely inside the image: at stride 1
    each side loses the kernel's size minus one.
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
        """Convolve `[b, t, h, w, c_in]` to `[b, t', h', w', c_out]`."""
        kernel = self.kernel[...].astype(x.dtype)
        if self.padded:
            y = conv.conv3d(x, kernel, self.strides, self.lowering)
        else:
            y = self._conv_valid(x, kernel)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)

    def _conv_valid(self, x: Map, kernel: Array) -> Map:
        """Convolve with padding, then keep the positions that see none, at the strides."""
        margins = [size // 2 for size in kernel.shape[:3]]
        slices = (
            slice(margin, side - margin, stride)
            for margin, side, stride in zip(margins, x.shape[1:4], self.strides)
        )
        return conv.conv3d(x, kernel, lowering=self.lowering)[:, *slices]


class DepthwiseConv(nnx.Module):
    """A 3-D convolution of each channel with its own kernel, at stride 1."""

    def __init__(self, channels: int, kernel: Size, *, rngs: nnx.Rngs):
        self.kernel = he_normal(rngs, (*kernel, channels), math.prod(kernel))

    def __call__(self, x: Map) -> Map:
        """Convolve a map `[b, t, h, w, c]`, keeping its shape."""
        return conv.depthwise_conv3d(x, self.kernel[...].astype(x.dtype))


class Statistic(nnx.BatchStat):
    """A running statistic, whose whole value is replaced at an assignment.

    Flax's own assignment first compares the shardings of the old and the new value. In a trace
    there is none, and JAX searches everything traced so far to compose an error message that is
    never shown.
    """

    def __setitem__(self, key: object, value: Array) -> None:
        """Replace the value; the key is always `...`."""
        self.set_value(value)


class BatchNorm(nnx.Module):
    """Batch normalisation over clips, time and space (Ioffe and Szegedy 2015).

    Flax's BatchNorm takes a mask too, but applies it to every element. Here the mask applies to the
    sums of whole clips, which needs fewer passes over the map (benchmarks/norm.py measures both).
    """

    def __init__(self, channels: int):
        self.scale, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))
        self.mean, self.var = Statistic(jnp.zeros(channels)), Statistic(jnp.ones(channels))
        self.use_running_average = False

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Choose between running statistics and the batch's own; `nnx.view` calls this."""
        if use_running_average is not None:
            self.use_running_average = use_running_average

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Normalise a map `[b, t, h, w, c]`, keeping its shape.

        The computation is in float32 or wider; the result has the dtype of the map.
        """
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return _normalise(x, *(v.astype(wide) for v in self.affine(lambda: _moments(x, mask))))

    def affine(self, compute_moments: Callable[[], Moments]) -> tuple[Array, Array, Array]:
        """Return the affine map that the normalisation applies to each channel.

        In training this also updates the running statistics.

        Args:
          compute_moments: Function that returns the batch's mean and variance. It is called in
            training only.

        Returns:
          Mean, factor and bias, each `[c]`: a channel becomes `(x - mean) * factor + bias`.
        """
        mean, variance = self.mean[...], self.var[...]
        if not self.use_running_average:
            mean, variance = compute_moments()
            self.mean[...] = MOMENTUM * self.mean[...] + (1 - MOMENTUM) * mean
            self.var[...] = MOMENTUM * self.var[...] + (1 - MOMENTUM) * variance
        return mean, self.scale[...] * jax.lax.rsqrt(variance + EPSILON), self.bias[...]


# The gradient is written by hand and avoids the term x - mean, which the compiler would write to
# memory as a second map. The map is saved in its own dtype and widened when it is read.


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
    positions = math.prod(x.shape[1:-1])
    clip_mean, clip_square = (jnp.sum(_widen(x) ** n, axis=(1, 2, 3)) / positions for n in (1, 2))
    return batch_moments(clip_mean, clip_square, mask)


def batch_moments(clip_mean: Array, clip_square: Array, mask: Mask, axis: int = 0) -> Moments:
    """Compute the mean and the biased variance of each channel over the batch's clips.

    The variance within a clip is E[x^2] - E[x]^2, as in Flax, which needs one pass over the map.
    The variance between the clips is computed from their differences from the mean.

    Args:
      clip_mean: E[x] of each clip and channel, `[b, c]` or `[c, b]`.
      clip_square: E[x^2], of the same shape.
      mask: `[b]`, False where a slot is empty; None if the batch is full.
      axis: Axis of the clips.

    Returns:
      Mean and variance, each `[c]`; zeros if the batch is empty.
    """
    within = jnp.maximum(clip_square - clip_mean**2, 0)
    count = clip_mean.shape[axis] if mask is None else jnp.maximum(jnp.sum(mask), 1)

    def average(values: Array) -> Float[Array, " c"]:
        masked = values if mask is None else jnp.where(jnp.expand_dims(mask, 1 - axis), values, 0)
        return jnp.sum(masked, axis) / count

    mean = average(clip_mean)
    return mean, average(within + (clip_mean - jnp.expand_dims(mean, axis)) ** 2)


def _by_channel(values: Float[Array, " c"]) -> Float[Array, "1 1 1 1 c"]:
    return values.reshape(1, 1, 1, 1, -1)


class ConvBN(nnx.Module):
    """Convolution, batch normalisation and, by default, ReLU.

    Without `temporal` the kernel is reduced to one time step.
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
        if not temporal:
            kernel = 1, *kernel[1:]
        self.conv = (
            DepthwiseConv(c_in, kernel, rngs=rngs)
            if depthwise
            else Conv(c_in, c_out, kernel, strides, padded=padded, rngs=rngs)
        )
        self.norm = BatchNorm(c_out)
        self.relu = relu

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Map `[b, t, h, w, c_in]` to `[b, t', h', w', c_out]`."""
        y = self.norm(self.conv(x), mask)
        return jax.nn.relu(y) if self.relu else y


class Dense(nnx.Module):
    """A fully connected layer. Weights are drawn by He's rule, or with the given deviation."""

    def __init__(self, c_in: int, c_out: int, *, deviation: float | None = None, rngs: nnx.Rngs):
        self.kernel = _weight(rngs, (c_in, c_out), c_in, deviation)
        self.bias = nnx.Param(jnp.zeros((1, c_out)))

    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b o"]:
        """Map `[b, c_in]` to `[b, c_out]`."""
        return x @ self.kernel[...] + self.bias[...]


class Chain(nnx.Module):
    """A sequence of layers that take `(x, mask)`."""

    def __init__(self, layers: Sequence[nnx.Module]):
        self.layers = nnx.List(layers)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Apply the layers in order."""
        for layer in self.layers:
            x = layer(x, mask)  # pyright: ignore[reportCallIssue]
        return x


def mean(x: Map, axes: Sequence[int]) -> Map:
    """Return the mean over axes, which stay with size 1, in float32 or wider."""
    return jnp.mean(_widen(x), axis=tuple(axes), keepdims=True)


def global_mean(x: Map) -> Float[Array, "b 1 1 1 c"]:
    """Return the mean of each channel over time and space, in float32 or wider."""
    return mean(x, (1, 2, 3))


def global_max(x: Map) -> Float[Array, "b 1 1 1 c"]:
    """Return the maximum of each channel over time and space, in float32 or wider."""
    return _widen(maximum(x, (1, 2, 3)))


def _widen(x: Map) -> Map:
    """Cast narrower types to float32 and keep float64."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def maximum(x: Map, axes: Sequence[int]) -> Map:
    """Return the maximum over axes, which stay with size 1.

    The gradient goes to the first position of the maximum. The gradient of `jnp.max` instead
    divides by the number of positions that equal the maximum. If the compiler computes x twice and
    rounds the two results differently, that number is 0 and the gradient NaN.
    """
    for axis in axes:
        first = jnp.argmax(x, axis=axis, keepdims=True)
        positions = jax.lax.broadcasted_iota(first.dtype, x.shape, axis)
        x = jnp.sum(jnp.where(positions == first, x, 0.0), axis=axis, keepdims=True)
    return x
