"""Max-pooling of images over height and width, with any size and stride."""

from functools import reduce

import jax.numpy as jnp
from jax import lax

from mser_jax.models.layers import Map


def max_pool2d(x: Map, size: int, stride: int, padding: int = 0) -> Map:
    """Return the maximum of each `size` x `size` window.

    A rest at the end that no complete window covers is ignored. The maximum is taken by slices,
    along one axis after the other. Equal values share a gradient.

    Args:
      x: Images `[b, t, h, w, c]`.
      size: Side of a window.
      stride: Distance between two windows.
      padding: Width of the padding around the image. It never is the maximum.

    Returns:
      `[b, t, h', w', c]`; each side is `(n + 2 * padding - size) // stride + 1`.
    """
    for axis in (2, 3):
        widths = [(padding, padding) if index == axis else (0, 0) for index in range(x.ndim)]
        padded = jnp.pad(x, widths, constant_values=-jnp.inf) if padding else x
        extent = (padded.shape[axis] - size) // stride * stride + 1
        slices = [
            lax.slice_in_dim(padded, tap, tap + extent, stride, axis=axis) for tap in range(size)
        ]
        x = reduce(jnp.maximum, slices)
    return x
