"""Image operations of the flow: pyramid, derivatives, warp, median. For `stages.flow`."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp

PYRAMID_STEP = 0.5
SMALLEST_SIDE = 24  # px; the pyramid stops before its images get smaller.

Pair = tuple[jax.Array, jax.Array]


def pyramid(image: jax.Array, scales: int) -> list[jax.Array]:
    """Return an image `[h, w]` at full size, then at ever smaller sizes.

    Args:
      image: The image.
      scales: Maximum number of levels.
    """
    levels = [image]
    for _ in range(scales - 1):
        height, width = levels[-1].shape
        smaller = (round(height * PYRAMID_STEP), round(width * PYRAMID_STEP))
        if min(smaller) < SMALLEST_SIDE:
            break
        levels.append(jax.image.resize(levels[-1], smaller, "linear"))
    return levels


def resize_flow(flow: Pair, shape: tuple[int, ...]) -> Pair:
    """Resize the flow of a coarser level to `shape`, in pixels of the new level."""
    u, v = flow
    height, width = u.shape
    u = jax.image.resize(u, shape, "linear") * (shape[1] / width)
    v = jax.image.resize(v, shape, "linear") * (shape[0] / height)
    return u, v


def with_gradient(image: jax.Array) -> jax.Array:
    """Stack an image and its five-point derivatives along x and y (Wedel et al.).

    Returns:
      `[3, h, w]`.
    """
    height, width = image.shape
    padded = jnp.pad(image, 2, mode="edge")
    columns = [padded[2:-2, start : start + width] for start in range(5)]
    rows = [padded[start : start + height, 2:-2] for start in range(5)]
    return jnp.stack([image, _five_point(columns), _five_point(rows)])


def _five_point(samples: list[jax.Array]) -> jax.Array:
    """Return the derivative at the middle of five samples one pixel apart."""
    return (samples[0] - 8 * samples[1] + 8 * samples[3] - samples[4]) / 12


def warp(images: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Sample images at the positions displaced by (u, v), bilinearly.

    Positions beyond the edge get the value at the edge.

    Args:
      images: `[c, h, w]`.
      u: Displacement to the right `[h, w]`, px.
      v: Displacement down `[h, w]`, px.

    Returns:
      `[c, h, w]`.
    """
    channels, height, width = images.shape
    x = jnp.clip(jnp.arange(width, dtype=u.dtype)[None, :] + u, 0, width - 1)
    y = jnp.clip(jnp.arange(height, dtype=v.dtype)[:, None] + v, 0, height - 1)
    left = jnp.minimum(jnp.floor(x), width - 2)
    top = jnp.minimum(jnp.floor(y), height - 2)
    right_weight, bottom_weight = (x - left)[None], (y - top)[None]
    corner = (top * width + left).astype(jnp.int32).ravel()
    pixels = images.reshape(channels, -1)

    def neighbour(offset):
        return jnp.take(pixels, corner + offset, axis=1, mode="clip").reshape(images.shape)

    upper = neighbour(0) + right_weight * (neighbour(1) - neighbour(0))
    lower = neighbour(width) + right_weight * (neighbour(width + 1) - neighbour(width))
    return upper + bottom_weight * (lower - upper)


def median(field: jax.Array) -> jax.Array:
    """Return the median of each 3x3 neighbourhood.

    It uses 19 exchanges (Devillard) instead of a sort.
    """
    height, width = field.shape
    padded = jnp.pad(field, 1, mode="edge")
    corners = itertools.product(range(3), range(3))
    cells = [padded[row : row + height, column : column + width] for row, column in corners]
    for low, high in _EXCHANGES:
        cells[low], cells[high] = (
            jnp.minimum(cells[low], cells[high]),
            jnp.maximum(cells[low], cells[high]),
        )
    return cells[4]


# fmt: off
_EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)
# fmt: on
