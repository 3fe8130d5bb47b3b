"""Batch normalisation with ReLU, forward and backward: ours beside Flax's, with a mask.

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
    """Print milliseconds for each shape."""
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
    """Outputs and gradients; Flax's mask has an entry for every element's clip."""
    graph, *trees = nnx.split(norm, nnx.Param, nnx.BatchStat)
    params, stats = map(nnx.to_pure_dict, trees)  # a State would keep its trace
    x = jax.random.normal(jax.random.key(0), shape)
    mask = jnp.arange(shape[0]) < shape[0] - 1
    mask = mask.reshape(-1, 1, 1, 1, 1) if elementwise_mask else mask

    @jax.jit
    def step(params, x, cotangent):
        def output(params, x):
            return jax.nn.relu(nnx.merge(graph, params, stats)(x, mask=mask))

        y, back = jax.vjp(output, params, x)
        return y, back(cotangent)

    return lambda: jax.block_until_ready(step(params, x, x))


def _figures(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.2f}"


if __name__ == "__main__":
    main()
