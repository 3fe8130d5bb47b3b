"""The max-pool of images: over height and width, of any size and stride."""

from functools import reduce

import jax.numpy as jnp
from jax import lax

from mser_jax.models.layers import Map


def max_pool2d(x: Map, size: int, stride: int, padding: int = 0) -> Map:
    """The maximum of each `size` x `size` window; what no whole window covers at the ends goes.

    It is taken along one axis after the other, by slices. Equal values share a gradient.

    Args:
      x: `[b, t, h, w, c]`.
      size: of the window.
      stride: from a window to the next.
      padding: around the image, of values that are no maximum.

    Returns:
      `[b, t, h', w', c]`; each side is `(n + 2 * padding - size) // stride + 1`.
    """
    for axis in (2, 3):
        widths = [(padding, padding) if each == axis else (0, 0) for each in range(x.ndim)]
        padded = jnp.pad(x, widths, constant_values=-jnp.inf) if padding else x
        reach = (padded.shape[axis] - size) // stride * stride + 1
        taps = [
            lax.slice_in_dim(padded, tap, tap + reach, stride, axis=axis) for tap in range(size)
        ]
        x = reduce(jnp.maximum, taps)
    return x
