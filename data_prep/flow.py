"""TV-L1 optical flow in JAX (section 3.2, step 5).

The flow u minimises  sum |grad u| + lambda |rho(u)|,  where rho is the difference of brightness,
linearised around the last flow u0:  rho(u) = I1(x + u0) + (u - u0) . grad I1(x + u0) - I0(x).
The problem is split in two,  sum |grad u| + |u - v|^2 / (2 theta) + lambda |rho(v)|,  and solved in
turns: v by thresholding, pixel by pixel, and u by one step of Chambolle's dual iteration.

References:
  Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007.
  Wedel, Pock, Zach, Bischof, Cremers, "An improved algorithm for TV-L1 optical flow", 2009: the
    median and the five-point derivative.
  Sanchez Perez, Meinhardt-Llopis, Facciolo, "TV-L1 optical flow estimation", IPOL 3, 2013.

Everything below `tvl1` is written for one pair of images `[h, w]`. The flow is a pair (u, v) of
fields and each field has a dual pair (x, y): kept apart, the operations of one iteration fuse into
few passes over memory.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from data_prep.errors import UserError

PYRAMID_STEP = 0.5
SMALLEST_SIDE = 24  # px: the pyramid stops before its images are smaller
TIME_STEP = 0.25  # tau of the dual iteration
FLAT = 1e-6  # squared gradient below which a pixel says nothing of the movement

Pair = tuple[jax.Array, jax.Array]


def flow(
    frames: np.ndarray,
    *,
    reference: str,
    smoothness: float,
    tightness: float,
    scales: int,
    warps: int,
    iterations: int,
    median: bool,
) -> np.ndarray:
    """The movement from a reference to every later frame of a clip.

    Args:
      frames: float32 `[n + 1, h, w]`, 0..255.
      reference: 'first' (every pair starts at the first frame) or 'previous'.
      smoothness: see `tvl1`, as all that follows.
      tightness: see `tvl1`.
      scales: see `tvl1`.
      warps: see `tvl1`.
      iterations: see `tvl1`.
      median: see `tvl1`.

    Returns:
      float32 `[n, h, w, 2]`: (u right, v down) in pixels.

    Raises:
      UserError: an unknown reference.
    """
    frames = np.asarray(frames, np.float32)
    if reference == "first":
        first = np.broadcast_to(frames[0], frames[1:].shape)
    elif reference == "previous":
        first = frames[:-1]
    else:
        raise UserError(f"flow.reference = {reference!r}: take 'first' or 'previous'.")
    return np.asarray(
        tvl1(
            first,
            frames[1:],
            smoothness=smoothness,
            tightness=tightness,
            scales=scales,
            warps=warps,
            iterations=iterations,
            median=median,
        )
    )


@functools.partial(jax.jit, static_argnames=("scales", "warps", "iterations", "median"))
def tvl1(
    first: jax.typing.ArrayLike,
    second: jax.typing.ArrayLike,
    *,
    smoothness: float,
    tightness: float,
    scales: int,
    warps: int,
    iterations: int,
    median: bool,
) -> jax.Array:
    """The flow that takes each pixel of `first` to its place in `second`, pair by pair.

    Minimises the total variation of the flow plus `smoothness` times the absolute difference of
    brightness, from coarse to fine. One program is compiled for a shape and the settings
    that shape it; a pair's flow does not depend on the other pairs.

    Args:
      first: float32 `[b, h, w]`, 0..255.
      second: float32 `[b, h, w]`.
      smoothness: lambda, the weight of the brightness term: smaller is smoother.
      tightness: theta, how far the two halves of the split problem may differ.
      scales: levels of the pyramid at most.
      warps: times that `second` is warped and the brightness linearised anew, a level.
      iterations: of the primal-dual scheme, a warp.
      median: take a 3x3 median of the flow before each warp (Wedel et al.).

    Returns:
      float32 `[b, h, w, 2]`.
    """
    settings = _Settings(
        jnp.asarray(smoothness), jnp.asarray(tightness), scales, warps, iterations, median
    )
    pairs = (jnp.asarray(first), jnp.asarray(second))
    # On a CPU one pair after the other: its fields stay in the cache.
    together = 1 if jax.default_backend() == "cpu" else len(pairs[0])
    return lax.map(lambda pair: _pair_flow(pair[0], pair[1], settings), pairs, batch_size=together)


class _Settings(NamedTuple):
    smoothness: jax.Array
    tightness: jax.Array
    scales: int
    warps: int
    iterations: int
    median: bool


def _pair_flow(first: jax.Array, second: jax.Array, settings: _Settings) -> jax.Array:
    """The flow `[h, w, 2]` of one pair, from the coarsest level to the finest."""
    firsts, seconds = _pyramid(first, settings.scales), _pyramid(second, settings.scales)
    flow = (jnp.zeros_like(firsts[-1]), jnp.zeros_like(firsts[-1]))
    for level_first, level_second in zip(reversed(firsts), reversed(seconds)):
        flow = _resize_flow(flow, level_first.shape)
        flow = _solve(flow, level_first, level_second, settings)
    return jnp.stack(flow, axis=-1)


def _solve(flow: Pair, first: jax.Array, second: jax.Array, settings: _Settings) -> Pair:
    """The flow of one level, started from `flow`."""
    still = (jnp.zeros_like(first), jnp.zeros_like(first))
    second = _with_gradient(second)

    def refine(_, state):
        flow, dual = state
        return _refine(flow, dual, first, second, settings)

    return lax.fori_loop(0, settings.warps, refine, (flow, (still, still)))[0]


def _refine(
    flow: Pair, dual: tuple[Pair, Pair], first: jax.Array, second: jax.Array, settings: _Settings
) -> tuple[Pair, tuple[Pair, Pair]]:
    """One warp: linearise the brightness around the flow, then solve for the flow."""
    u, v = (_median(flow[0]), _median(flow[1])) if settings.median else flow
    warped, across, down = _warp(second, u, v)
    norm = across**2 + down**2
    inverse = jnp.where(norm > FLAT, 1 / jnp.maximum(norm, FLAT), 0.0)
    constant = warped - first - across * u - down * v
    tightness = settings.tightness
    reach = settings.smoothness * tightness

    def iterate(_, state):
        (u, v), (dual_u, dual_v) = state
        residual = constant + across * u + down * v  # rho(u)
        step = jnp.clip(-residual * inverse, -reach, reach)  # the three cases of thresholding
        u = u + step * across + tightness * _divergence(dual_u)  # u = v + theta div p
        v = v + step * down + tightness * _divergence(dual_v)
        return (u, v), (_ascend(dual_u, u, tightness), _ascend(dual_v, v, tightness))

    return lax.fori_loop(0, settings.iterations, iterate, ((u, v), dual))


def _ascend(dual: Pair, field: jax.Array, tightness: jax.Array) -> Pair:
    """One step of the dual variable of a field's total variation."""
    pace = TIME_STEP / tightness
    across, down = _forward_gradient(field)
    shrink = 1 / (1 + pace * jnp.sqrt(across**2 + down**2))
    return (dual[0] + pace * across) * shrink, (dual[1] + pace * down) * shrink


def _forward_gradient(field: jax.Array) -> Pair:
    """Forward differences along x and y, zero at the far edge."""
    across = field[:, 1:] - field[:, :-1]
    down = field[1:] - field[:-1]
    return jnp.pad(across, ((0, 0), (0, 1))), jnp.pad(down, ((0, 1), (0, 0)))


def _divergence(dual: Pair) -> jax.Array:
    """Backward differences: minus the adjoint of `_forward_gradient`.

    The dual variable is zero at the far edges and stays so, as the gradient is.
    """
    across, down = dual
    left = jnp.pad(across[:, :-1], ((0, 0), (1, 0)))
    above = jnp.pad(down[:-1], ((1, 0), (0, 0)))
    return across - left + down - above


def _with_gradient(image: jax.Array) -> jax.Array:
    """`[3, h, w]`: an image and its five-point derivatives along x and y (Wedel et al.)."""
    height, width = image.shape
    padded = jnp.pad(image, 2, mode="edge")
    columns = [padded[2:-2, start : start + width] for start in range(5)]
    rows = [padded[start : start + height, 2:-2] for start in range(5)]
    return jnp.stack([image, _five_point(columns), _five_point(rows)])


def _five_point(samples: list[jax.Array]) -> jax.Array:
    """The derivative in the middle of five samples one pixel apart."""
    return (samples[0] - 8 * samples[1] + 8 * samples[3] - samples[4]) / 12


def _warp(images: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """`images` `[c, h, w]` at the places that (u, v) lead to, bilinear; the edge goes on beyond."""
    channels, height, width = images.shape
    x = jnp.clip(jnp.arange(width, dtype=u.dtype)[None, :] + u, 0, width - 1)
    y = jnp.clip(jnp.arange(height, dtype=v.dtype)[:, None] + v, 0, height - 1)
    left = jnp.minimum(jnp.floor(x), width - 2)
    top = jnp.minimum(jnp.floor(y), height - 2)
    right_share, bottom_share = (x - left)[None], (y - top)[None]
    corner = (top * width + left).astype(jnp.int32).ravel()
    pixels = images.reshape(channels, -1)

    def at(offset):
        return jnp.take(pixels, corner + offset, axis=1, mode="clip").reshape(images.shape)

    upper = at(0) + right_share * (at(1) - at(0))
    lower = at(width) + right_share * (at(width + 1) - at(width))
    return upper + bottom_share * (lower - upper)


def _median(field: jax.Array) -> jax.Array:
    """The median of each 3x3 neighbourhood, by 19 exchanges (Devillard) instead of a sort."""
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


def _pyramid(image: jax.Array, scales: int) -> list[jax.Array]:
    """An image `[h, w]` at full size, then smaller and smaller."""
    levels = [image]
    for _ in range(scales - 1):
        height, width = levels[-1].shape
        smaller = (round(height * PYRAMID_STEP), round(width * PYRAMID_STEP))
        if min(smaller) < SMALLEST_SIDE:
            break
        levels.append(jax.image.resize(levels[-1], smaller, "linear"))
    return levels


def _resize_flow(flow: Pair, shape: tuple[int, ...]) -> Pair:
    """The flow of a coarser level at a level of `shape`, in that level's pixels."""
    u, v = flow
    height, width = u.shape
    u = jax.image.resize(u, shape, "linear") * (shape[1] / width)
    v = jax.image.resize(v, shape, "linear") * (shape[0] / height)
    return u, v
