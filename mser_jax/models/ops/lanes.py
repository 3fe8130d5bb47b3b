"""Convolution, ReLU and max-pool of small images in one pass, with the clips on the vector lanes.

An image of three channels fills no vector with its channels, and one of 28 pixels hardly with a
row; 32 clips do. So the clips come last, in blocks: `[block, channel, place, lane]`, and what a
shift by a pixel moves is whole vectors.

On a CPU the map of the convolution is never held: it is made three rows at a time, which is a row
of the pool, and what is asked of it is taken while it lies in the cache: the pool, and the sums
that a batch normalisation needs. The gradient makes it again, which costs less than memory does.

The image lies flat with its zeros: 3 before each row and none after, as those of the next row do
for both. The convolution at a place then sees contiguous stretches. Rows and columns of the map
begin with one that belongs to the pool's padding, so that its windows lie at multiples of 3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

LANES = 32  # two vectors of AVX-512; what three rows of 32 clips need stays in the second cache

OUTSIDE_VALUE = 1e30  # from any value of a map

Images = Float[Array, "k c _h _w l"]
Kernel = Float[Array, "3 3 c o"]
PerChannel = Float[Array, " o"]
RowIndex = Int[Array, ""] | int


class PoolResult(NamedTuple):
    """What is left of the map `relu(convolution)` of each clip.

    Attributes:
      best: the maximum of each window, or the minimum, `[k, h', o, w', l]`.
      total: the sum over the map, `[k, o, l]`.
      square: the sum of its squares.
    """

    best: Float[Array, "k _h o _w l"]
    total: Float[Array, "k o l"]
    square: Float[Array, "k o l"]


class _Sizes(NamedTuple):
    """Of a map of `height` x `width`, as it is made.

    Attributes:
      pool_rows, pool_columns: the windows of the pool.
      rest_rows: rows of the map below the last window.
      stride: the length of a row, from the column left of the map.
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
        down, right = ((side - 1) // 3 + 1 for side in (height, width))
        rest = max(0, height + 1 - 3 * down)
        return cls(height, width, down, right, rest, max(width + 1, 3 * right))

    def outside_mask(self, lanes: int) -> Float[np.ndarray, " _"]:
        """1 for the places that are made but not of the map, else 0."""
        flat = np.ones((3 * self.pool_rows + self.rest_rows, self.stride), np.float32)
        flat[1 : 1 + self.height, 1 : 1 + self.width] = 0
        return np.repeat(flat, lanes)


def to_blocks(x: Float[Array, "b h w c"]) -> Images:
    """The clips as blocks of lanes; after the last clip come empty ones."""
    b, *shape = x.shape
    lanes = min(b, LANES)
    x = jnp.pad(x, [(0, -b % lanes), (0, 0), (0, 0), (0, 0)])
    return x.reshape(-1, lanes, *shape).transpose(0, 4, 2, 3, 1)


def from_blocks(x: Float[Array, "k *c l"]) -> Float[Array, "*c b"]:
    """The clips side by side again, the empty ones after the last clip among them."""
    return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)


@jax.custom_vjp
def conv_relu_pool(x: Images, kernel: Kernel, bias: PerChannel, signs: PerChannel) -> PoolResult:
    """A 3x3 convolution with padding 2, ReLU, and a 3x3 pool of stride 3 with padding 1.

    Args:
      x: the images.
      kernel: of the convolution (cross-correlation).
      bias: added to it.
      signs: 1 for the channels whose maximum is taken, -1 for those whose minimum is.
    """
    return _forward(x, kernel, bias, signs)[0]


def _forward(x: Images, kernel: Array, bias: Array, signs: Array):
    sizes = _Sizes.from_images(x)
    convolved = _make_convolution(sizes, x.shape[-1], kernel, bias, signs)

    def group(block: Array, first: RowIndex, rows: int):
        _, z = convolved(block, first, rows)
        maps = jnp.where(_relu_active(z), z, 0)
        sums = jnp.sum(maps, axis=(1, 2)), jnp.sum(maps**2, axis=(1, 2))
        # ReLU and the sign keep the order, or turn it: they can come after the maximum.
        return sums, _maximum(z * _column(signs), sizes) if rows == 3 else None

    sums, (best, place), _ = _map_groups(group, _flatten_padded(x, sizes), sizes)
    best = jax.nn.relu(best * signs.reshape(1, 1, -1, 1, 1))
    return PoolResult(best, *sums), (x, kernel, bias, signs, place)


def _backward(residuals: tuple[Array, ...], gradient: PoolResult):
    x, kernel, bias, rises, place = residuals
    sizes = _Sizes.from_images(x)
    convolved = _make_convolution(sizes, x.shape[-1], kernel, bias, rises)

    def by_map(own: tuple[Array, ...], first: RowIndex, rows: int):
        block, by_best, place, by_total, by_square = own
        patches, z = convolved(block, first, rows)
        moved = _column(by_total) + 2 * _column(by_square) * z
        if rows == 3:
            moved += _maximum_gradient(by_best[first // 3], place[first // 3], sizes)
        return patches, jnp.where(_relu_active(z), moved, 0).reshape(len(z), -1)

    def by_weights(*group: Any):
        patches, by_z = by_map(*group)
        return (patches @ by_z.T, jnp.sum(by_z, axis=1)), None

    own = _flatten_padded(x, sizes), gradient.best, place, gradient.total, gradient.square
    sums, *_ = _map_groups(by_weights, own, sizes)
    by_kernel, by_bias = (jnp.sum(each, axis=0) for each in sums)
    # The compiler drops this where, as in a first layer, nothing asks for it.
    _, *maps = _map_groups(lambda *group: ((), by_map(*group)[1]), own, sizes)
    by_x = _image_gradient(maps, kernel, x, sizes)
    return by_x, by_kernel[:-1].reshape(kernel.shape), by_bias, jnp.zeros_like(rises)


def _image_gradient(map_gradients: list[Array], kernel: Kernel, x: Images, sizes: _Sizes) -> Images:
    """The gradient by the images from that by the maps: each place gives to what it has seen."""
    k, c, h, w, lanes = x.shape
    groups, rest = map_gradients  # [k, down, o, n], [k, o, n]
    groups = groups.swapaxes(1, 2).reshape(k, kernel.shape[-1], -1)
    by_z = jnp.concatenate([groups, rest], axis=2).reshape(*groups.shape[:2], -1, lanes)
    row, made = sizes.stride, by_z.shape[2]
    seen = jnp.zeros((k, c, made + 3 * row, lanes), by_z.dtype)
    for down in range(3):
        for right in range(3):
            start = down * row + right
            given = jnp.einsum("konl,co->kcnl", by_z, kernel[down, right])
            seen = seen.at[:, :, start : start + made].add(given)
    return seen.reshape(k, c, -1, row, lanes)[:, :, 3 : 3 + h, 3 : 3 + w]


conv_relu_pool.defvjp(_forward, _backward)


def _flatten_padded(x: Images, sizes: _Sizes) -> Float[Array, "k c _ l"]:
    """With the zeros around, the rows one after the other."""
    k, c, h, w, lanes = x.shape
    below, right = 3 * sizes.pool_rows + sizes.rest_rows - h, sizes.stride - w - 3
    return jnp.pad(x, [(0, 0), (0, 0), (3, below), (3, right), (0, 0)]).reshape(k, c, -1, lanes)


def _make_convolution(
    sizes: _Sizes, lanes: int, kernel: Kernel, bias: Array, signs: Array
) -> Callable:
    """What gives a group's patches, `[n, 3 * stride * l]`, and its map before ReLU.

    Asking each place whether it belongs to the map costs as much as the convolution. Instead one
    more row of the patches is 1 outside of it, with a weight by which outside is never the best.
    """
    outside = jnp.asarray(sizes.outside_mask(lanes), kernel.dtype)
    matrix = jnp.append(kernel.reshape(-1, len(bias)).T, -OUTSIDE_VALUE * signs[:, None], axis=1)
    starts = [row * sizes.stride + column for row in range(3) for column in range(3)]

    def convolved(block: Float[Array, "c _ l"], first: RowIndex, rows: int):
        begin, size = first * sizes.stride * lanes, rows * sizes.stride * lanes
        flat = block.reshape(len(block), -1)
        seen = [
            lax.dynamic_slice(flat, (0, begin + start * lanes), (len(flat), size))
            for start in starts
        ]
        there = lax.dynamic_slice(outside, (begin,), (size,))[None]
        patches = jnp.concatenate([*seen, there])
        z = (matrix @ patches).reshape(len(bias), rows, sizes.stride, lanes)
        return patches, z + _column(bias)

    return convolved


def _relu_active(z: Array) -> Bool[Array, "..."]:
    """Where ReLU lets the gradient through; nowhere outside."""
    return (z > 0) & (z < OUTSIDE_VALUE / 2)


def _maximum(z: Float[Array, "o 3 _ l"], sizes: _Sizes):
    """The maximum of each window of a row of them and the first place, of 9, that holds it."""
    c, _, _, lanes = z.shape
    windows = z[:, :, : 3 * sizes.pool_columns].reshape(c, 3, sizes.pool_columns, 3, lanes)
    values = [windows[:, row, :, column] for row in range(3) for column in range(3)]
    best, place = values[0], jnp.zeros(values[0].shape, jnp.int8)
    for tap, value in enumerate(values):
        place = jnp.where(value > best, jnp.int8(tap), place)
        best = jnp.maximum(best, value)
    return best, place


def _maximum_gradient(gradient: Float[Array, "o _ l"], place: Array, sizes: _Sizes):
    """The gradient of `_maximum`: to the place of each window."""
    c, _, lanes = gradient.shape
    missing = -(-sizes.stride // 3) - sizes.pool_columns
    gradient, place = (
        jnp.pad(values, [(0, 0), (0, missing), (0, 0)])[:, None, :, None]
        for values in (gradient, place)
    )
    taps = jnp.arange(9, dtype=place.dtype).reshape(1, 3, 1, 3, 1)
    return jnp.where(place == taps, gradient, 0).reshape(c, 3, -1, lanes)[:, :, : sizes.stride]


def _column(values: Array) -> Float[Array, "o 1 1 _"]:
    """`[o]` or `[o, l]`, to meet a map."""
    return values.reshape(len(values), 1, 1, -1)


def _map_groups(function: Callable, block_arrays: Any, sizes: _Sizes) -> tuple[Any, Any, Any]:
    """A function of a block's own, the first row of a group and how many it has, on all of them.

    One after the other on a CPU, for its cache; elsewhere all at once (not measured).

    Returns:
      The function's first result, summed over a block's groups; the second of the rows of windows,
      stacked; and that of the rest.
    """
    lift = lax.map if jax.default_backend() == "cpu" else _vmap

    def block(one: Any) -> Any:
        sums, windows = lift(lambda at: function(one, 3 * at, 3), jnp.arange(sizes.pool_rows))
        more, rest = function(one, 3 * sizes.pool_rows, sizes.rest_rows)
        return jax.tree.map(lambda each, last: jnp.sum(each, 0) + last, sums, more), windows, rest

    return lift(block, block_arrays)


def _vmap(function: Callable, values: Any) -> Any:
    return jax.vmap(function)(values)
