"""TV-L1 optical flow in JAX (section 3.2, step 5).

The flow u minimises  sum |grad u| + lambda |rho(u)|,  where rho is the difference of brightness,
linearised around the last flow u0:  rho(u) = I1(x + u0) + (u - u0) . grad I1(x + u0) - I0(x).
The problem is split in two,  sum |grad u| + |u - v|^2 / (2 theta) + lambda |rho(v)|,  and solved
alternately: for v by thresholding, pixel by pixel, and for u by one step of Chambolle's dual
iteration.

References:
  Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007.
  Wedel, Pock, Zach, Bischof, Cremers, "An improved algorithm for TV-L1 optical flow", 2009: the
    median and the five-point derivative.
  Sanchez Perez, Meinhardt-Llopis, Facciolo, "TV-L1 optical flow estimation", IPOL 3, 2013.

Everything below `tvl1` handles one pair of images `[h, w]`. The flow is a pair (u, v) of fields,
and each field has a dual pair (x, y). They are separate arrays, so that the operations of one
iteration fuse into few passes over memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from data_prep.common.errors import UserError
from data_prep.stages import flow_images
from data_prep.stages.flow_images import Pair

TIME_STEP = 0.25  # tau of the dual iteration
NOISE = 2.0  # Grey levels per px; a pixel with less slope is flat.
FLAT = 1e-6  # Squared gradient below which a pixel does not constrain the flow.
CHECK_EVERY = 5  # Iterations between convergence checks, which cost passes over memory.

State = tuple[Pair, tuple[Pair, Pair]]  # The flow and its dual variables.


def flow(
    frames: np.ndarray,
    *,
    reference: str,
    smoothness: float,
    tightness: float,
    scales: int,
    warps: int,
    iterations: int,
    epsilon: float,
    median: bool,
    gain: bool,
) -> np.ndarray:
    """Compute the flow from a reference to every later frame of a clip.

    Args:
      frames: float32 `[n + 1, h, w]`, 0..255.
      reference: 'first' (every pair starts at the first frame) or 'previous'.
      smoothness: See `tvl1`, as for all arguments below.
      tightness: See `tvl1`.
      scales: See `tvl1`.
      warps: See `tvl1`.
      iterations: See `tvl1`.
      epsilon: See `tvl1`.
      median: See `tvl1`.
      gain: See `tvl1`.

    Returns:
      float32 `[n, h, w, 2]`: (u right, v down) in pixels.

    Raises:
      UserError: The reference is unknown.
    """
    frames = np.asarray(frames, np.float32)
    if reference == "first":
        first = np.broadcast_to(frames[0], frames[1:].shape)
    elif reference == "previous":
        first = frames[:-1]
    else:
        raise UserError(
            f"flow.reference: unknown value {reference!r}. Fix: use 'first' or 'previous'."
        )
    return np.asarray(
        tvl1(
            first,
            frames[1:],
            smoothness=smoothness,
            tightness=tightness,
            scales=scales,
            warps=warps,
            iterations=iterations,
            epsilon=epsilon,
            median=median,
            gain=gain,
        )
    )


def tvl1(
    first: ArrayLike,
    second: ArrayLike,
    *,
    smoothness: float = 0.25,
    tightness: float = 0.15,
    scales: int = 3,
    warps: int = 5,
    iterations: int = 15,
    epsilon: float = 0.0,
    median: bool = True,
    gain: bool = True,
) -> jax.Array:
    """Compute the flow that maps each pixel of `first` to its place in `second`.

    Minimises the total variation of the flow plus `smoothness` times the absolute difference of
    brightness, from coarse to fine. One program is compiled per shape and per set of static
    settings (`scales` and those below it). The defaults are those of the recipe
    (`data_prep.config.recipe`).

    Args:
      first: One image `[h, w]` or several `[b, h, w]`, 0..255.
      second: Images of the same shape. The flow of a pair does not depend on the others.
      smoothness: Weight lambda of the brightness term: smaller is smoother.
      tightness: Theta, how far the two halves of the split problem may differ.
      scales: Maximum number of pyramid levels.
      warps: Number of times a level warps `second` and linearises the brightness anew.
      iterations: Maximum number of primal-dual iterations in each warp.
      epsilon: Threshold, px. A warp also ends when the flow changes by less (root mean square) from
        one iteration to the next, which is checked every CHECK_EVERY iterations. 0 turns this off.
        It pays only with many iterations: with 15, the checks cost more than they save
        (benchmarks/flow.py).
      median: Whether to take a 3x3 median of the flow before each warp (Wedel et al.).
      gain: Whether to scale `second` to the brightness of `first`. A flicker of the light by one
        percent violates brightness constancy as much as a movement of a fraction of a pixel.

    Returns:
      float32 `[h, w, 2]` or `[b, h, w, 2]`: (u right, v down) in pixels.
    """
    images = (jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32))
    weights = (jnp.asarray(smoothness), jnp.asarray(tightness))
    settings = (scales, warps, iterations, epsilon, median, gain)
    if images[0].ndim == 2:
        return _flows(images[0][None], images[1][None], *weights, *settings)[0]
    return _flows(*images, *weights, *settings)


@functools.partial(jax.jit, static_argnums=range(4, 10))
def _flows(first: jax.Array, second: jax.Array, *settings: Any) -> jax.Array:
    """Compute the flow `[b, h, w, 2]` of each pair."""
    # A CPU computes one pair at a time, so that its fields stay in the cache.
    batch_size = 1 if jax.default_backend() == "cpu" else len(first)
    return lax.map(
        lambda pair: _pair_flow(pair[0], pair[1], _Settings(*settings)),
        (first, second),
        batch_size=batch_size,
    )


class _Settings(NamedTuple):
    smoothness: jax.Array
    tightness: jax.Array
    scales: int
    warps: int
    iterations: int
    epsilon: float
    median: bool
    gain: bool


def _pair_flow(first: jax.Array, second: jax.Array, settings: _Settings) -> jax.Array:
    """Compute the flow `[h, w, 2]` of one pair, from the coarsest level to the finest."""
    if settings.gain:
        second = second * _gain(first, second)
    firsts, seconds = (
        flow_images.pyramid(first, settings.scales),
        flow_images.pyramid(second, settings.scales),
    )
    flow = (jnp.zeros_like(firsts[-1]), jnp.zeros_like(firsts[-1]))
    for level_first, level_second in zip(reversed(firsts), reversed(seconds)):
        flow = flow_images.resize_flow(flow, level_first.shape)
        flow = _solve(flow, level_first, level_second, settings)
    return jnp.stack(flow, axis=-1)


def _gain(first: jax.Array, second: jax.Array) -> jax.Array:
    """Return the brightness of `first` divided by the brightness of `second`.

    It is the ratio of the mean brightness, with most weight on flat pixels: those do not change as
    they move.
    """
    _, across, down = flow_images.with_gradient((first + second) / 2)
    weight = 1 / (NOISE**2 + across**2 + down**2)
    first_sum, second_sum = jnp.sum(weight * first), jnp.sum(weight * second)
    # A black second frame has no brightness to scale; the ratio is 1.
    return jnp.where(second_sum > 0, first_sum / jnp.where(second_sum > 0, second_sum, 1), 1)


def _solve(flow: Pair, first: jax.Array, second: jax.Array, settings: _Settings) -> Pair:
    """Compute the flow of one level, starting from `flow`."""
    zero = (jnp.zeros_like(first), jnp.zeros_like(first))
    second = flow_images.with_gradient(second)

    def refine(_, state):
        flow, dual = state
        return _refine(flow, dual, first, second, settings)

    return lax.fori_loop(0, settings.warps, refine, (flow, (zero, zero)))[0]


def _refine(
    flow: Pair, dual: tuple[Pair, Pair], first: jax.Array, second: jax.Array, settings: _Settings
) -> State:
    """Run one warp: linearise the brightness around the flow, then solve for the flow."""
    u, v = (flow_images.median(flow[0]), flow_images.median(flow[1])) if settings.median else flow
    warped, across, down = flow_images.warp(second, u, v)
    norm = across**2 + down**2
    inverse = jnp.where(norm > FLAT, 1 / jnp.maximum(norm, FLAT), 0.0)
    constant = warped - first - across * u - down * v
    tightness = settings.tightness
    max_step = settings.smoothness * tightness

    def iterate(state):
        (u, v), (dual_u, dual_v) = state
        residual = constant + across * u + down * v  # rho(u)
        step = jnp.clip(-residual * inverse, -max_step, max_step)  # the three cases of thresholding
        u = u + step * across + tightness * _divergence(dual_u)  # u = v + theta div p
        v = v + step * down + tightness * _divergence(dual_v)
        return (u, v), (_ascend(dual_u, u, tightness), _ascend(dual_v, v, tightness))

    return _repeat(iterate, ((u, v), dual), settings.iterations, settings.epsilon)


def _repeat(
    iterate: Callable[[State], State], state: State, max_iterations: int, epsilon: float
) -> State:
    """Apply `iterate` up to `max_iterations` times, or until the flow converges.

    The flow converges when it changes by less than `epsilon` px. Over a batch, `vmap` turns the
    condition into one per pair: a converged pair stays unchanged while others continue.
    """
    if not epsilon:
        return lax.fori_loop(0, max_iterations, lambda _, state: iterate(state), state)

    def continues(progress):
        count, change, _ = progress
        return (count < max_iterations) & (change >= epsilon**2)

    def iterate_block(progress):
        count, _, state = progress
        end = jnp.minimum(count + CHECK_EVERY, max_iterations)
        previous = lax.fori_loop(count, end - 1, lambda _, state: iterate(state), state)
        state = iterate(previous)
        return end, _mean_square(previous[0], state[0]), state

    return lax.while_loop(continues, iterate_block, (0, jnp.inf, state))[2]


def _mean_square(before: Pair, after: Pair) -> jax.Array:
    """Return the mean square length of the difference of two flows."""
    (u, v), (next_u, next_v) = before, after
    return jnp.mean((next_u - u) ** 2 + (next_v - v) ** 2)


def _ascend(dual: Pair, field: jax.Array, tightness: jax.Array) -> Pair:
    """Take one step of the dual variable of a field's total variation."""
    step = TIME_STEP / tightness
    across, down = _forward_gradient(field)
    shrink = 1 / (1 + step * jnp.sqrt(across**2 + down**2))
    return (dual[0] + step * across) * shrink, (dual[1] + step * down) * shrink


def _forward_gradient(field: jax.Array) -> Pair:
    """Return forward differences along x and y, zero at the far edge."""
    across = field[:, 1:] - field[:, :-1]
    down = field[1:] - field[:-1]
    return jnp.pad(across, ((0, 0), (0, 1))), jnp.pad(down, ((0, 1), (0, 0)))


def _divergence(dual: Pair) -> jax.Array:
    """Return backward differences: minus the adjoint of `_forward_gradient`.

    The dual variable is zero at the far edges and stays so, because the gradient is zero there.
    """
    across, down = dual
    left = jnp.pad(across[:, :-1], ((0, 0), (1, 0)))
    above = jnp.pad(down[:-1], ((1, 0), (0, 0)))
    return across - left + down - above
