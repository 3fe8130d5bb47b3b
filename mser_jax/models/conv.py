"""The convolutions and the pooling of every model, as matrix products and slices.

XLA's own 3-D convolution is slow on CPUs, and under `vmap` over folds it becomes a grouped one.
Here a kernel is unrolled over height and width into channels (a partial im2col) and summed over
time, so that what is left is a matrix product, alone or batched over folds. Layout: x
`[b, t, h, w, c]`, kernels `[kt, kh, kw, c_in, c_out]`, zero padding of `k // 2` on both sides, as
in PyTorch.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Size = tuple[int, int, int]


def conv3d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "kt kh kw c o"], strides: Size = (1, 1, 1)
) -> Float[Array, "b t2 h2 w2 o"]:
    """A 3-D convolution (cross-correlation) with padding `k // 2`.

    Args:
      x: the input.
      kernel: weights; odd sizes keep the input's size at stride 1.
      strides: over time, height and width.

    Returns:
      The output; each side is `(n + 2 * (k // 2) - k) // stride + 1`.
    """
    kt, kh, kw, c_in, c_out = kernel.shape
    patches = _spatial_patches(x, (kh, kw), strides[1:])
    matrices = kernel.reshape(kt, kh * kw * c_in, c_out)
    if strides[0] == 1 and kt * c_out <= kh * kw * c_in:
        return _time_taps_after(patches, matrices)
    return _time_taps_before(patches, matrices, strides[0])


def _time_taps_before(patches: Array, matrices: Array, stride: int) -> Array:
    """Slice the input for each time tap, multiply, add."""
    taps = matrices.shape[0]
    padded = _pad(patches, 1, taps // 2)
    steps = (padded.shape[1] - taps) // stride + 1
    terms = [
        _matmul(_take(padded, 1, tap, steps, stride), matrices[tap])
        for tap in range(taps)
    ]
    return sum(terms[1:], terms[0])


def _time_taps_after(patches: Array, matrices: Array) -> Array:
    """Multiply once for all time taps, then slice the outputs and add: less to copy when narrow."""
    taps, _, channels = matrices.shape
    steps = patches.shape[1]
    stacked = jnp.concatenate(list(matrices), axis=-1)
    products = _pad(_matmul(patches, stacked), 1, taps // 2)
    terms = [
        products[:, tap : tap + steps, ..., tap * channels : (tap + 1) * channels]
        for tap in range(taps)
    ]
    return sum(terms[1:], terms[0])


def depthwise_conv3d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "kt kh kw c"]
) -> Float[Array, "b t h w c"]:
    """A convolution of each channel with a kernel of its own, at stride 1, padding `k // 2`."""
    taps = [
        (a, b, c)
        for a in range(kernel.shape[0])
        for b in range(kernel.shape[1])
        for c in range(kernel.shape[2])
    ]
    _, t, h, w, _ = x.shape
    padded = x
    for axis in (1, 2, 3):
        padded = _pad(padded, axis, kernel.shape[axis - 1] // 2)
    terms = [
        padded[:, a : a + t, b : b + h, c : c + w] * kernel[a, b, c].reshape(1, 1, 1, 1, -1)
        for a, b, c in taps
    ]
    return sum(terms[1:], terms[0])


def conv_transpose3d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "kt kh kw c o"]
) -> Float[Array, "b t2 h2 w2 o"]:
    """A transposed convolution whose stride is its kernel's size, so that no outputs overlap."""
    b, t, h, w, _ = x.shape
    kt, kh, kw, _, channels = kernel.shape
    blocks = jnp.einsum("bthwi,pqrio->btphqwro", x, kernel)
    return blocks.reshape(b, t * kt, h * kh, w * kw, channels)


def max_pool3d(x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 c"]:
    """A 3x3x3 maximum at stride 2, padding 1: one axis after the other, by slices."""
    for axis in (1, 2, 3):
        padded = _pad(x, axis, 1, -jnp.inf)
        size = (x.shape[axis] - 1) // 2 + 1
        first, second, third = (_take(padded, axis, tap, size, 2) for tap in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def _matmul(x: Array, matrix: Array) -> Array:
    flat = x.reshape(-1, x.shape[-1]) @ matrix
    return flat.reshape(*x.shape[:-1], matrix.shape[-1])


def _spatial_patches(x: Array, kernel: tuple[int, int], strides: tuple[int, ...]) -> Array:
    """Unroll the `kh * kw` neighbours of each output position into channels, row by row."""
    for axis, size, stride in ((3, kernel[1], strides[1]), (2, kernel[0], strides[0])):
        padded = _pad(x, axis, size // 2)
        outputs = (padded.shape[axis] - size) // stride + 1
        slices = [_take(padded, axis, tap, outputs, stride) for tap in range(size)]
        x = slices[0] if size == 1 else jnp.concatenate(slices, axis=-1)
    return x


def _pad(x: Array, axis: int, width: int, value: float = 0.0) -> Array:
    if width == 0:
        return x
    widths = [(width, width) if a == axis else (0, 0) for a in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=value)


def _take(x: Array, axis: int, start: int, size: int, stride: int) -> Array:
    """`size` entries of one axis, from `start`, every `stride`."""
    if start == 0 and size == x.shape[axis]:
        return x
    return jax.lax.slice_in_dim(x, start, start + (size - 1) * stride + 1, stride, axis)
