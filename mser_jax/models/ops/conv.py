"""The convolutions and the pooling of all models, in several lowerings with the same result.

XLA's own 3-D convolution is slow on CPUs, and its gradients are slower still. Under `vmap` over
folds it becomes a grouped convolution. So a convolution is also implemented as one matrix product:
the neighbours of each position are copied side by side ("patches", im2col) and multiplied by the
kernel, for one fold or batched over folds. The taps over time are part of the patches or, where
that is narrower, part of the products, which are then shifted and added.

Layout: x `[b, t, h, w, c]`, kernels `[kt, kh, kw, c_in, c_out]`, zero padding of `k // 2` on both
sides, as in PyTorch.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Size = tuple[int, int, int]

# 'xla': XLA's own operation. 'einsum': one product over the patches of the whole batch. 'frames':
# a product for each frame, so that the patches stay in a CPU's cache. The gradient computes them
# again instead of keeping them.
LOWERINGS = ("xla", "einsum", "frames")

# On a CPU, 'auto' chooses 'frames' if the batch's patches exceed the cache (bytes) and a frame has
# enough positions for a product of its own (benchmarks/conv.py measures both).
CACHE_BYTES, MIN_POSITIONS = 2**21, 128

_LAYOUT = ("NDHWC", "DHWIO", "NDHWC")


def check_lowering(name: str) -> None:
    """Raise ValueError if a name is neither 'auto' nor one of `LOWERINGS`."""
    if name not in ("auto", *LOWERINGS):
        raise ValueError(f"unknown lowering {name!r}; choose auto, {', '.join(LOWERINGS)}")


def choose_lowering(platform: str, positions: int, patch_bytes: int) -> str:
    """Choose the lowering for 'auto'.

    The choice on a CPU is measured (benchmarks/README.md); that on other platforms is not yet.

    Args:
      platform: 'cpu', 'gpu' or 'tpu'.
      positions: Output positions of one frame.
      patch_bytes: Bytes of the patches of the whole batch.
    """
    if platform != "cpu":
        return "xla"
    return "frames" if patch_bytes > CACHE_BYTES and positions >= MIN_POSITIONS else "einsum"


def conv3d(
    x: Float[Array, "b t h w c"],
    kernel: Float[Array, "kt kh kw c o"],
    strides: Size = (1, 1, 1),
    lowering: str = "auto",
) -> Float[Array, "b t2 h2 w2 o"]:
    """Compute a 3-D convolution (cross-correlation) with padding `k // 2`.

    Args:
      x: Input.
      kernel: Weights. The sizes are odd, so that stride 1 keeps the input's size.
      strides: Strides over time, height and width.
      lowering: One of `LOWERINGS`, or 'auto' to choose by the platform and the sizes.

    Returns:
      The output; each side is `(n - 1) // stride + 1`.

    Raises:
      ValueError: If a size of the kernel is even.
    """
    if not all(size % 2 for size in kernel.shape[:3]):
        raise ValueError(f"the sizes of a kernel must be odd; these are {kernel.shape[:3]}")
    kernel = _drop_dead_taps(kernel, x.shape[1])
    kt, kh, kw, _, c_out = kernel.shape
    if lowering == "auto":
        lowering = auto_lowering(x, kernel, strides)
    if lowering == "xla":
        return _xla_conv3d(x, kernel, strides)
    if strides[0] == 1 and 1 < kt == 2 * x.shape[1] - 1:
        return _dense_over_time(x, kernel, strides, lowering)
    if _time_taps_in_products(kernel, strides):
        matrix = kernel.transpose(1, 2, 3, 0, 4).reshape(-1, kt * c_out)
        products = _convolve_frames(x, matrix, (kh, kw), strides[1:], lowering)
        return _sum_over_time(products, kt)
    stacked = _time_neighbours(x, kt, strides[0])
    return _convolve_frames(stacked, _kernel_matrix(kernel), (kh, kw), strides[1:], lowering)


def _kernel_matrix(kernel: Array) -> Array:
    """Reshape a kernel to the matrix that multiplies patches: `[kh * kw * kt * c, o]`."""
    return kernel.transpose(1, 2, 0, 3, 4).reshape(-1, kernel.shape[-1])


def _drop_dead_taps(kernel: Array, steps: int) -> Array:
    """Drop the taps over time that see only padding: two of three for one time step."""
    middle = kernel.shape[0] // 2
    reach = min(middle, steps - 1)
    return kernel[middle - reach : middle + reach + 1]


def _time_taps_in_products(kernel: Array, strides: Size) -> bool:
    """Check whether taps over time are narrower in the products than in the patches."""
    kt, kh, kw, c_in, c_out = kernel.shape
    return strides[0] == 1 and kt * c_out <= kh * kw * c_in


def auto_lowering(x: Array, kernel: Array, strides: Size) -> str:
    """Return the lowering that `conv3d` chooses for these operands."""
    steps, *sides = ((n - 1) // s + 1 for n, s in zip(x.shape[1:4], strides))
    positions = math.prod(sides)
    kt, kh, kw, c_in, _ = kernel.shape
    width = kh * kw * c_in * (1 if _time_taps_in_products(kernel, strides) else kt)
    patches = len(x) * steps * positions * width * x.dtype.itemsize
    return choose_lowering(jax.default_backend(), positions, patches if kh * kw > 1 else 0)


def _xla_conv3d(x: Array, kernel: Array, strides: Size) -> Array:
    padding = [(size // 2, size // 2) for size in kernel.shape[:3]]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_LAYOUT)


def _time_neighbours(x: Array, taps: int, stride: int) -> Array:
    """Stack the neighbours in time along the channels."""
    b, t, h, w, c = x.shape
    # XLA's concatenation on CPUs is slow in five dimensions, so this uses four.
    y = _neighbours(x.reshape(b, t, h * w, c), 1, taps, stride)
    return y.reshape(b, -1, h, w, taps * c)


def _dense_over_time(x: Array, kernel: Array, strides: Size, lowering: str) -> Array:
    """Convolve without products of padding if every output step sees all input steps."""
    _, kh, kw, _, _ = kernel.shape
    steps = x.shape[1]
    step_kernels = [kernel[steps - 1 - step :][:steps] for step in range(steps)]
    stacked = jnp.concatenate([x[:, step] for step in range(steps)], axis=-1)[:, None]
    matrix = jnp.concatenate([_kernel_matrix(taps) for taps in step_kernels], axis=-1)
    products = _convolve_frames(stacked, matrix, (kh, kw), strides[1:], lowering)
    return jnp.stack(jnp.split(products[:, 0], steps, axis=-1), axis=1)


def _sum_over_time(products: Array, taps: int) -> Array:
    """Sum the shifted products: `[b, t, h, w, taps * c]` becomes `[b, t, h, w, c]`."""
    steps = products.shape[1]
    shifted = []
    for tap, product in enumerate(jnp.split(products, taps, axis=-1)):
        offset = tap - taps // 2
        valid = product[:, max(0, offset) : steps + min(0, offset)]
        shifted.append(_pad(valid, 1, (max(0, -offset), max(0, offset))))
    return sum(shifted[1:], shifted[0])


def _convolve_frames(
    x: Array, matrix: Array, size: tuple[int, int], strides: tuple[int, int], lowering: str
) -> Array:
    """Convolve frames over height and width with a matrix `[kh * kw * c, o]`.

    x is `[b, t, h, w, c]`.
    """
    b, t, *frame = x.shape
    convolve: Any = _frame_by_frame if lowering == "frames" else _all_frames
    y = convolve(x.reshape(b * t, *frame), matrix, size, strides)
    return y.reshape(b, t, *y.shape[1:])


def _all_frames(x: Array, matrix: Array, size: tuple, strides: tuple) -> Array:
    return _matmul(_patches(x, size, strides), matrix)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _frame_by_frame(
    x: Float[Array, "n h w c"], matrix: Float[Array, "k o"], size: tuple, strides: tuple
) -> Float[Array, "n h2 w2 o"]:
    return lax.map(lambda frame: _all_frames(frame, matrix, size, strides), x)


def _frame_by_frame_forward(x: Array, matrix: Array, size: tuple, strides: tuple):
    return _frame_by_frame(x, matrix, size, strides), (x, matrix)


def _frame_by_frame_backward(size: tuple, strides: tuple, residuals: tuple, gradient: Array):
    x, matrix = residuals
    sum_dtype = jnp.promote_types(matrix.dtype, jnp.float32)  # for the sum over all frames

    def step(total: Array, frame: tuple[Array, Array]):
        patches, patches_vjp = jax.vjp(lambda image: _patches(image, size, strides), frame[0])
        rows = frame[1].reshape(-1, matrix.shape[1])
        total += lax.dot_general(
            rows,
            patches.reshape(-1, len(matrix)),
            (((0,), (0,)), ((), ())),
            preferred_element_type=sum_dtype,
        )
        return total, patches_vjp((rows @ matrix.T).reshape(patches.shape))[0]

    total, x_gradient = lax.scan(step, jnp.zeros_like(matrix.T, sum_dtype), (x, gradient))
    return x_gradient, total.T.astype(matrix.dtype)


_frame_by_frame.defvjp(_frame_by_frame_forward, _frame_by_frame_backward)


def depthwise_conv3d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "kt kh kw c"]
) -> Float[Array, "b t h w c"]:
    """Convolve each channel with its own kernel, at stride 1 with padding `k // 2`."""
    taps = [
        (a, b, c)
        for a in range(kernel.shape[0])
        for b in range(kernel.shape[1])
        for c in range(kernel.shape[2])
    ]
    _, t, h, w, _ = x.shape
    padded = x
    for axis, size in zip((1, 2, 3), kernel.shape):
        padded = _pad(padded, axis, (size // 2, size // 2))
    terms = [
        padded[:, a : a + t, b : b + h, c : c + w] * kernel[a, b, c].reshape(1, 1, 1, 1, -1)
        for a, b, c in taps
    ]
    return sum(terms[1:], terms[0])


def conv_transpose3d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "kt kh kw c o"], lowering: str = "auto"
) -> Float[Array, "b t2 h2 w2 o"]:
    """Compute a transposed convolution whose stride is its kernel's size.

    Its outputs do not overlap, so it is a matrix product and a reshape.

    Args:
      x: Input.
      kernel: Weights.
      lowering: 'xla' for XLA's own operation, or any other for the product.

    Returns:
      The output, of sides `t * kt`, `h * kh` and `w * kw`.
    """
    if lowering == "xla":
        # XLA's transposed convolution, unlike PyTorch's, applies the kernel mirrored.
        mirrored = kernel[::-1, ::-1, ::-1]
        sizes = kernel.shape[:3]
        return lax.conv_transpose(x, mirrored, sizes, "VALID", dimension_numbers=_LAYOUT)
    b, t, h, w, _ = x.shape
    kt, kh, kw, _, c_out = kernel.shape

    def row(tap: Array) -> Array:
        """Compute the output rows of one `[kw, c, o]`, whose columns are in order already."""
        return _matmul(x, tap.swapaxes(0, 1).reshape(-1, kw * c_out)).reshape(b, t, h, -1)

    frames = [jnp.stack([row(tap) for tap in taps], axis=3) for taps in kernel]
    return jnp.stack(frames, axis=2).reshape(b, t * kt, h * kh, w * kw, c_out)


def max_pool3d(
    x: Float[Array, "b t h w c"], lowering: str = "auto"
) -> Float[Array, "b t2 h2 w2 c"]:
    """Compute a 3x3x3 max-pool at stride 2 with padding 1.

    The maximum is taken by slices, along one axis after the other. Equal values share a gradient in
    the slices; in XLA's operation one of them gets all of it.

    Args:
      x: Input.
      lowering: 'xla' for XLA's own operation, or any other for the slices.
    """
    if lowering == "xla":
        padding = ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 3, 1), (1, 2, 2, 2, 1), padding)
    for axis in (1, 2, 3):
        padded = _pad(x, axis, (1, 1), -jnp.inf)
        size = (x.shape[axis] - 1) // 2 + 1
        first, second, third = (_take(padded, axis, tap, size, 2) for tap in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def _matmul(x: Array, matrix: Array) -> Array:
    """Multiply along the last axis of x."""
    # The product is two-dimensional, because XLA transposes the operands of one over more axes.
    product = x.reshape(-1, x.shape[-1]) @ matrix
    return product.reshape(*x.shape[:-1], matrix.shape[-1])


def _patches(x: Array, size: tuple[int, int], strides: tuple[int, int]) -> Array:
    """Stack the `kh * kw` neighbours of each output position along the channels.

    x is `[..., h, w, c]`.
    """
    x = _neighbours(x, x.ndim - 2, size[1], strides[1])
    return _neighbours(x, x.ndim - 3, size[0], strides[0])


def _neighbours(x: Array, axis: int, size: int, stride: int) -> Array:
    """Stack `size` neighbours of every `stride`-th position along the channels."""
    padded = _pad(x, axis, (size // 2, size // 2))
    outputs = (x.shape[axis] - 1) // stride + 1
    slices = [_take(padded, axis, tap, outputs, stride) for tap in range(size)]
    return slices[0] if size == 1 else jnp.concatenate(slices, axis=-1)


def _pad(x: Array, axis: int, widths: tuple[int, int], value: float = 0.0) -> Array:
    if widths == (0, 0):
        return x
    all_widths = [(0, 0)] * x.ndim
    all_widths[axis] = widths
    return jnp.pad(x, all_widths, constant_values=value)


def _take(x: Array, axis: int, start: int, size: int, stride: int) -> Array:
    """Take `size` entries along one axis, from `start`, in steps of `stride`."""
    if start == 0 and size == x.shape[axis]:
        return x
    return lax.slice_in_dim(x, start, start + (size - 1) * stride + 1, stride, axis)
