"""Convolution, ReLU and max-pool of small images in one pass, with the clips on the vector lanes.

Three channels do not fill a CPU's vector, and a row of 28 pixels hardly does, but 32 clips do. So
the clips are the last axis, in blocks: `[block, channel, position, lane]`. A shift by one pixel
then moves whole vectors.

On a CPU the map of the convolution is never stored. It is computed three rows at a time, a group
that makes one row of the pool. The pool and the sums that a batch normalisation needs are taken
from the group while it is in the cache. The gradient computes the map again, which costs less time
than storing and reading it.

The image is flattened with its zero padding: 3 zeros before each row and none after it, because
the zeros before the next row serve as both. The convolution then reads contiguous slices. The map
begins with one row and one column of the pool's padding, so that the windows begin at multiples
of 3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

# 32 clips are two AVX-512 vectors, and three rows of 32 clips fit into the L2 cache.
LANES = 32

OUTSIDE_VALUE = 1e30  # magnitude of the values outside a map, far from any value of the map

Images = Float[Array, "k c _h _w l"]
Kernel = Float[Array, "3 3 c o"]
PerChannel = Float[Array, " o"]
RowIndex = Int[Array, ""] | int


class PoolResult(NamedTuple):
    """The pooled map `relu(convolution)` of each clip, and the sums over the map.

    Attributes:
      best: Maximum or minimum of each window, `[k, h', o, w', l]`.
      total: Sum over the map, `[k, o, l]`.
      square: Sum of the squares over the map, `[k, o, l]`.
    """

    best: Float[Array, "k _h o _w l"]
    total: Float[Array, "k o l"]
    square: Float[Array, "k o l"]


class _Sizes(NamedTuple):
    """The sizes of a map as it is computed.

    Attributes:
      height: Height of the map.
      width: Width of the map.
      pool_rows: Rows of windows in the pool.
      pool_columns: Columns of windows in the pool.
      rest_rows: Rows of the map below the last window.
      stride: Length of a computed row, which begins with the column left of the map.
    """

    height: int
    width: int
    pool_rows: int
    pool_columns: int
    rest_rows: int
    stride: int

    @classmethod
    def from_images(cls, x: Images) -> "_Sizes":
        height, width = (side + 2 for side in x.shape[2:4])
        pool_rows, pool_columns = ((side - 1) // 3 + 1 for side in (height, width))
        rest_rows = max(0, height + 1 - 3 * pool_rows)
        return cls(
            height, width, pool_rows, pool_columns, rest_rows, max(width + 1, 3 * pool_columns)
        )

    def outside_mask(self, lanes: int) -> Float[np.ndarray, " _"]:
        """Return 1 for computed positions that do not belong to the map, else 0."""
        mask = np.ones((3 * self.pool_rows + self.rest_rows, self.stride), np.float32)
        mask[1 : 1 + self.height, 1 : 1 + self.width] = 0
        return np.repeat(mask, lanes)


def to_blocks(x: Float[Array, "b h w c"]) -> Images:
    """Arrange the clips in blocks of lanes, the last filled up with empty clips."""
    b, *shape = x.shape
    lanes = min(b, LANES)
    x = jnp.pad(x, [(0, -b % lanes), (0, 0), (0, 0), (0, 0)])
    return x.reshape(-1, lanes, *shape).transpose(0, 4, 2, 3, 1)


def from_blocks(x: Float[Array, "k *c l"]) -> Float[Array, "*c b"]:
    """Join the blocks to one axis of clips, with the empty clips at the end."""
    return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)


@jax.custom_vjp
def conv_relu_pool(x: Images, kernel: Kernel, bias: PerChannel, signs: PerChannel) -> PoolResult:
    """Apply a 3x3 convolution, ReLU and a 3x3 pool.

    The convolution has padding 2. The pool has stride 3 and padding 1.

    Args:
      x: Images.
      kernel: Kernel of the convolution (cross-correlation).
      bias: Bias of the convolution.
      signs: 1 for the channels whose maximum is taken, -1 for those whose minimum is taken.
    """
    return _forward(x, kernel, bias, signs)[0]


def _forward(x: Images, kernel: Array, bias: Array, signs: Array):
    sizes = _Sizes.from_images(x)
    convolve = _make_convolution(sizes, x.shape[-1], kernel, bias, signs)

    def pool_group(block: Array, first_row: RowIndex, rows: int):
        _, z = convolve(block, first_row, rows)
        maps = jnp.where(_relu_active(z), z, 0)
        sums = jnp.sum(maps, axis=(1, 2)), jnp.sum(maps**2, axis=(1, 2))
        # ReLU keeps the order of the values, and the sign keeps or reverses it. So ReLU can follow
        # the maximum.
        return sums, _maximum(z * _column(signs), sizes) if rows == 3 else None

    sums, (best, best_tap), _ = _map_groups(pool_group, _flatten_padded(x, sizes), sizes)
    best = jax.nn.relu(best * signs.reshape(1, 1, -1, 1, 1))
    return PoolResult(best, *sums), (x, kernel, bias, signs, best_tap)


def _backward(residuals: tuple[Array, ...], gradient: PoolResult):
    x, kernel, bias, signs, best_tap = residuals
    sizes = _Sizes.from_images(x)
    convolve = _make_convolution(sizes, x.shape[-1], kernel, bias, signs)

    def map_gradient(block_arrays: tuple[Array, ...], first_row: RowIndex, rows: int):
        block, by_best, best_tap, by_total, by_square = block_arrays
        patches, z = convolve(block, first_row, rows)
        by_map = _column(by_total) + 2 * _column(by_square) * z
        if rows == 3:
            by_map += _maximum_gradient(by_best[first_row // 3], best_tap[first_row // 3], sizes)
        return patches, jnp.where(_relu_active(z), by_map, 0).reshape(len(z), -1)

    def weight_gradients(*group: Any):
        patches, by_z = map_gradient(*group)
        return (patches @ by_z.T, jnp.sum(by_z, axis=1)), None

    block_arrays = (
        _flatten_padded(x, sizes),
        gradient.best,
        best_tap,
        gradient.total,
        gradient.square,
    )
    sums, *_ = _map_groups(weight_gradients, block_arrays, sizes)
    by_kernel, by_bias = (jnp.sum(block_sums, axis=0) for block_sums in sums)
    # The compiler removes this if the image's gradient is not used, as in a first layer.
    _, *maps = _map_groups(lambda *group: ((), map_gradient(*group)[1]), block_arrays, sizes)
    by_x = _image_gradient(maps, kernel, x, sizes)
    return by_x, by_kernel[:-1].reshape(kernel.shape), by_bias, jnp.zeros_like(signs)


def _image_gradient(map_gradients: list[Array], kernel: Kernel, x: Images, sizes: _Sizes) -> Images:
    """Compute the images' gradient: each position adds to the pixels that it read."""
    k, c, h, w, lanes = x.shape
    groups, rest = map_gradients  # [k, pool_rows, o, n], [k, o, n]
    groups = groups.swapaxes(1, 2).reshape(k, kernel.shape[-1], -1)
    by_z = jnp.concatenate([groups, rest], axis=2).reshape(*groups.shape[:2], -1, lanes)
    stride, size = sizes.stride, by_z.shape[2]
    by_padded = jnp.zeros((k, c, size + 3 * stride, lanes), by_z.dtype)
    for row in range(3):
        for column in range(3):
            start = row * stride + column
            by_tap = jnp.einsum("konl,co->kcnl", by_z, kernel[row, column])
            by_padded = by_padded.at[:, :, start : start + size].add(by_tap)
    return by_padded.reshape(k, c, -1, stride, lanes)[:, :, 3 : 3 + h, 3 : 3 + w]


conv_relu_pool.defvjp(_forward, _backward)


def _flatten_padded(x: Images, sizes: _Sizes) -> Float[Array, "k c _ l"]:
    """Pad the images with zeros and join their rows."""
    k, c, h, w, lanes = x.shape
    below, right = 3 * sizes.pool_rows + sizes.rest_rows - h, sizes.stride - w - 3
    return jnp.pad(x, [(0, 0), (0, 0), (3, below), (3, right), (0, 0)]).reshape(k, c, -1, lanes)


def _make_convolution(
    sizes: _Sizes, lanes: int, kernel: Kernel, bias: Array, signs: Array
) -> Callable:
    """Make the function that convolves a group of rows.

    The function returns the group's patches, `[n, rows * stride * l]`, and its map before ReLU.

    A test at each position of whether it belongs to the map would cost as much as the convolution.
    Instead the patches have one more row, which is 1 outside the map. Its weight makes sure that a
    value outside is never the best.
    """
    outside = jnp.asarray(sizes.outside_mask(lanes), kernel.dtype)
    matrix = jnp.append(kernel.reshape(-1, len(bias)).T, -OUTSIDE_VALUE * signs[:, None], axis=1)
    tap_starts = [row * sizes.stride + column for row in range(3) for column in range(3)]

    def convolve(block: Float[Array, "c _ l"], first_row: RowIndex, rows: int):
        start, size = first_row * sizes.stride * lanes, rows * sizes.stride * lanes
        flat = block.reshape(len(block), -1)
        taps = [
            lax.dynamic_slice(flat, (0, start + tap_start * lanes), (len(flat), size))
            for tap_start in tap_starts
        ]
        outside_rows = lax.dynamic_slice(outside, (start,), (size,))[None]
        patches = jnp.concatenate([*taps, outside_rows])
        z = (matrix @ patches).reshape(len(bias), rows, sizes.stride, lanes)
        return patches, z + _column(bias)

    return convolve


def _relu_active(z: Array) -> Bool[Array, "..."]:
    """Return the mask of where ReLU passes the gradient, False outside the map."""
    return (z > 0) & (z < OUTSIDE_VALUE / 2)


def _maximum(z: Float[Array, "o 3 _ l"], sizes: _Sizes):
    """Return the maximum of each window in a row, and the first tap that has it.

    A tap is a position in the window, from 0 to 8.
    """
    c, _, _, lanes = z.shape
    windows = z[:, :, : 3 * sizes.pool_columns].reshape(c, 3, sizes.pool_columns, 3, lanes)
    values = [windows[:, row, :, column] for row in range(3) for column in range(3)]
    best, best_tap = values[0], jnp.zeros(values[0].shape, jnp.int8)
    for tap, value in enumerate(values):
        best_tap = jnp.where(value > best, jnp.int8(tap), best_tap)
        best = jnp.maximum(best, value)
    return best, best_tap


def _maximum_gradient(gradient: Float[Array, "o _ l"], best_tap: Array, sizes: _Sizes):
    """Compute the gradient of `_maximum`, which goes to the best tap of each window."""
    c, _, lanes = gradient.shape
    missing = -(-sizes.stride // 3) - sizes.pool_columns
    gradient, best_tap = (
        jnp.pad(values, [(0, 0), (0, missing), (0, 0)])[:, None, :, None]
        for values in (gradient, best_tap)
    )
    taps = jnp.arange(9, dtype=best_tap.dtype).reshape(1, 3, 1, 3, 1)
    return jnp.where(best_tap == taps, gradient, 0).reshape(c, 3, -1, lanes)[:, :, : sizes.stride]


def _column(values: Array) -> Float[Array, "o 1 1 _"]:
    """Reshape `[o]` or `[o, l]` so that it broadcasts to a map."""
    return values.reshape(len(values), 1, 1, -1)


def _map_groups(function: Callable, block_arrays: Any, sizes: _Sizes) -> tuple[Any, Any, Any]:
    """Apply a function to all groups of rows of all blocks.

    A CPU takes the groups one after the other, for its cache. Other platforms take all at once
    (not measured).

    Args:
      function: Function of a block's arrays, the first row of a group and the group's number of
        rows. It returns a pair of results.
      block_arrays: Arrays with a leading axis of blocks.
      sizes: Sizes of the map.

    Returns:
      The first results, summed over a block's groups; the second results of the groups of three
      rows, stacked; and the second result of the rest.
    """
    lift = lax.map if jax.default_backend() == "cpu" else _vmap

    def map_block(arrays: Any) -> Any:
        sums, windows = lift(
            lambda pool_row: function(arrays, 3 * pool_row, 3), jnp.arange(sizes.pool_rows)
        )
        rest_sums, rest = function(arrays, 3 * sizes.pool_rows, sizes.rest_rows)
        return (
            jax.tree.map(lambda groups, last: jnp.sum(groups, 0) + last, sums, rest_sums),
            windows,
            rest,
        )

    return lift(map_block, block_arrays)


def _vmap(function: Callable, values: Any) -> Any:
    return jax.vmap(function)(values)
