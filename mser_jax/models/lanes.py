"""Convolution and pooling of small images, with the clips of a batch on the vector lanes.

An image of three channels fills no vector with its channels, and one of 28 pixels hardly with a
row; 64 clips do. So the clips come last, `[h, c, w, b]`, and what a shift by a pixel moves is whole
vectors. On a CPU the output is made row by row: a row's patches stay in the cache.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

Images = Float[Array, "_h _c _w b"]


@jax.custom_vjp
def convolve(
    x: Images, kernel: Float[Array, "kh kw c o"], bias: Float[Array, " o"]
) -> Float[Array, "_h o _w b"]:
    """Convolve (cross-correlate) without padding: each side loses the kernel's size less one."""
    _, _, w, b = x.shape
    kh, kw, _, c_out = kernel.shape
    matrix = _over_patches(kernel).T

    def row(start: Int[Array, ""]) -> Float[Array, "o _"]:
        return matrix @ _patches(x, start, kh, kw) + bias[:, None]

    return _each_row(row, jnp.arange(len(x) - kh + 1)).reshape(-1, c_out, w - kw + 1, b)


def _convolve_forward(x: Images, kernel: Array, bias: Array):
    return convolve(x, kernel, bias), (x, kernel)


def _convolve_backward(kept: tuple[Array, Array], gradient: Images):
    x, kernel = kept
    kh, kw, c, c_out = kernel.shape

    def row(start: Int[Array, ""]) -> tuple[Array, Array]:
        own = lax.dynamic_index_in_dim(gradient, start, keepdims=False).reshape(c_out, -1)
        return _patches(x, start, kh, kw) @ own.T, jnp.sum(own, axis=1)

    matrix, bias = (jnp.sum(rows, axis=0) for rows in _each_row(row, jnp.arange(len(gradient))))
    # The compiler drops this where, as in a first layer, nothing asks for it.
    around = jnp.pad(gradient, [(kh - 1,) * 2, (0, 0), (kw - 1,) * 2, (0, 0)])
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    by_x = convolve(around, turned, jnp.zeros(c, kernel.dtype))
    return by_x, matrix.reshape(kw, kh, c, c_out).swapaxes(0, 1), bias


convolve.defvjp(_convolve_forward, _convolve_backward)


def _over_patches(kernel: Array) -> Array:
    """A kernel as the matrix for patches: `[kw * kh * c, o]`."""
    return kernel.swapaxes(0, 1).reshape(-1, kernel.shape[-1])


def _patches(x: Images, start: Int[Array, ""], kh: int, kw: int) -> Float[Array, "_ _"]:
    """What an output row sees, `[kw * kh * c, w * b]`: some contiguous slices, and no more."""
    _, c, w, b = x.shape
    flat = x.reshape(-1, w * b)
    size = kh * c, (w - kw + 1) * b
    return jnp.concatenate(
        [lax.dynamic_slice(flat, (start * c, tap * b), size) for tap in range(kw)]
    )


def _each_row(function: Callable, rows: Any) -> Any:
    """One row after the other on a CPU, for its cache; elsewhere all at once (not measured)."""
    if jax.default_backend() == "cpu":
        return lax.map(function, rows)
    return jax.vmap(function)(rows)


@jax.custom_vjp
def max_pool(x: Images) -> Images:
    """A 3x3 maximum at stride 3, padding 1; the gradient goes to the first place that holds it."""
    return _max_pool_forward(x)[0]


def _max_pool_forward(x: Images):
    down, right = ((side - 1) // 3 + 1 for side in x.shape[::2])
    around = jnp.pad(x, [(1, 1), (0, 0), (1, 1), (0, 0)], constant_values=-jnp.inf)
    values = [
        around[row : row + 3 * down : 3, :, column : column + 3 * right : 3]
        for row in range(3)
        for column in range(3)
    ]
    best, place = values[0], jnp.zeros(values[0].shape, jnp.int8)
    for tap, value in enumerate(values):
        place = jnp.where(value > best, jnp.int8(tap), place)
        best = jnp.maximum(best, value)
    return best, (place, x)


def _max_pool_backward(kept: tuple[Array, Images], gradient: Images) -> tuple[Images]:
    place, x = kept  # of x only the size is used
    h, c, w, b = x.shape
    taps = jnp.arange(9, dtype=place.dtype).reshape(3, 1, 1, 3, 1)

    def row(own: tuple[Array, Array]) -> Array:
        chosen, moved = (values.reshape(1, c, -1, 1, b) for values in own)
        return jnp.where(chosen == taps, moved, 0)

    # Windows enough to cover the image, so that no element is asked whether it is inside.
    more = [(0, h // 3 + 1 - len(place)), (0, 0), (0, w // 3 + 1 - place.shape[2]), (0, 0)]
    # A loop, as the compiler would else seek the place anew for each of the nine.
    spread = _each_row(row, (jnp.pad(place, more), jnp.pad(gradient, more)))
    return (spread.reshape(3 * len(spread), c, -1, b)[1 : 1 + h, :, 1 : 1 + w],)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)
