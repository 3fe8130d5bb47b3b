"""Batch normalisation with ReLU and a mask, forward and backward: ours and Flax's.

taskset -c 0 python -m benchmarks.norm
"""

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks import timing
from mser_jax.models.layers import BatchNorm

SHAPES = ((4, 8, 34, 34, 256), (4, 16, 67, 67, 64))
TOY = ((2, 2, 6, 6, 4),)


def main() -> None:
    """Parse the flags and print milliseconds for each shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    flags = parser.parse_args()
    rows: list[tuple[object, ...]] = [("map", "ours, ms", "Flax's, ms", "ratio")]
    for shape in TOY if flags.toy else SHAPES:
        flax = nnx.BatchNorm(shape[-1], use_fast_variance=False, rngs=nnx.Rngs(0))
        candidates = {"ours": _step(BatchNorm(shape[-1]), shape, False)}
        candidates["Flax"] = _step(flax, shape, True)
        clock = timing.clock(jax.default_backend())
        seconds = timing.side_by_side(candidates, flags.rounds, clock)
        ours, theirs = (1e3 * seconds[name] for name in ("ours", "Flax"))
        rows.append(("x".join(map(str, shape)), *_figures(ours, theirs)))
    print(timing.heading(jax.devices()[0].device_kind, ["jax", "flax"]), end="\n\n")
    print(timing.table(rows))


def _step(norm: nnx.Module, shape: tuple[int, ...], elementwise_mask: bool) -> Callable[[], object]:
    """Create a run of the forward and the backward pass.

    Args:
      norm: Batch normalisation.
      shape: Shape of the input, batch first.
      elementwise_mask: Whether the mask broadcasts to the input, as Flax needs it; ours has one
        entry per clip.
    """
    graph, *trees = nnx.split(norm, nnx.Param, nnx.BatchStat)
    params, stats = map(nnx.to_pure_dict, trees)  # An nnx.State would keep its trace.
    x = jax.random.normal(jax.random.key(0), shape)
    mask = jnp.arange(shape[0]) < shape[0] - 1
    mask = mask.reshape(-1, 1, 1, 1, 1) if elementwise_mask else mask

    @jax.jit
    def step(params, x, cotangent):
        def output(params, x):
            return jax.nn.relu(nnx.merge(graph, params, stats)(x, mask=mask))

        y, backward = jax.vjp(output, params, x)
        return y, backward(cotangent)

    return lambda: jax.block_until_ready(step(params, x, x))


def _figures(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.2f}"


if __name__ == "__main__":
    main()
