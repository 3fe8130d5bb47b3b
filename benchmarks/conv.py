"""The convolutions of the full network: our lowerings, XLA's own and PyTorch's.

    taskset -c 0 python -m benchmarks.conv --batch 4

Times are CPU time on a CPU and wall-clock time on a GPU; `taskset` gives one core. Without PyTorch
its column is left out.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from mser_jax.models.ops import conv

try:
    from benchmarks import conv_torch
except ImportError:
    conv_torch: Any = None

Run = Callable[[], object]

# Input without the batch axis, kernel, strides: the kinds of convolution in the full network.
LAYERS = (
    ((16, 134, 134, 3), (3, 7, 7, 3, 64), (1, 2, 2)),
    ((8, 34, 34, 64), (1, 1, 1, 64, 256), (1, 1, 1)),
    ((8, 34, 34, 64), (3, 3, 3, 64, 64), (1, 1, 1)),
    ((8, 34, 34, 64), (3, 3, 3, 64, 256), (1, 1, 1)),
    ((8, 34, 34, 128), (3, 3, 3, 128, 128), (2, 2, 2)),
    ((8, 34, 34, 256), (1, 1, 1, 256, 512), (2, 2, 2)),
    ((4, 17, 17, 128), (3, 3, 3, 128, 128), (1, 1, 1)),
    ((4, 17, 17, 128), (1, 1, 7, 128, 128), (1, 1, 1)),
    ((4, 17, 17, 128), (7, 1, 1, 128, 512), (1, 1, 1)),
    ((2, 9, 9, 256), (3, 3, 3, 256, 256), (1, 1, 1)),
    ((2, 9, 9, 256), (1, 3, 1, 256, 1024), (1, 1, 1)),
    ((1, 5, 5, 512), (3, 3, 3, 512, 512), (1, 1, 1)),
)


def main() -> None:
    """Parse the flags and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="clips per step")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    flags = parser.parse_args()
    rows = _layers(flags)
    packages = ["jax", "jaxlib", "flax", *(["torch"] if conv_torch is not None else [])]
    print(timing.heading(jax.devices()[0].device_kind, packages), end="\n\n")
    print(timing.table(rows))


def _measure(candidates: dict[str, Run], flags: argparse.Namespace) -> dict[str, float]:
    return timing.side_by_side(candidates, flags.rounds, timing.clock(jax.default_backend()))


def _layers(flags: argparse.Namespace) -> list[Sequence[object]]:
    """Measure each kind of convolution: ms forward / ms forward and backward."""
    names = [*conv.LOWERINGS, *(["PyTorch"] if conv_torch is not None else [])]
    rows: list[Sequence[object]] = [("input, kernel, strides", "auto is", *names)]
    for shape, kernel, strides in LAYERS[:2] if flags.toy else LAYERS:
        if flags.toy:
            shape, kernel = (2, 9, 9, 4), (*kernel[:3], 4, 8)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((flags.batch, *shape)).astype(np.float32)
        weights = rng.standard_normal(kernel).astype(np.float32)
        operands = jnp.asarray(x, flags.dtype), jnp.asarray(weights, flags.dtype)
        runs = {name: _convolve_ours(name, *operands, strides) for name in conv.LOWERINGS}
        if conv_torch is not None:
            runs["PyTorch"] = conv_torch.layer(x, weights, strides, flags.dtype)
        forward, with_backward = (
            _measure({name: pair[part] for name, pair in runs.items()}, flags) for part in (0, 1)
        )
        auto = conv.auto_lowering(*operands, strides)
        cells = [f"{1e3 * forward[name]:.1f} / {1e3 * with_backward[name]:.1f}" for name in names]
        sizes = f"{_format_sizes(shape)}, {_format_sizes(kernel)}, {_format_sizes(strides)}"
        rows.append((sizes, auto, *cells))
        print(" | ".join(map(str, rows[-1])), flush=True)
    return rows


def _convolve_ours(
    name: str, x: jax.Array, weights: jax.Array, strides: conv.Size
) -> tuple[Run, Run]:
    """Create the runs of a lowering: forward, and forward with gradients.

    The gradient with respect to the input is left out for the first layer (3 channels), which does
    not need it.
    """
    needs_input_gradient = x.shape[-1] != 3

    def forward(x: jax.Array, weights: jax.Array) -> jax.Array:
        return conv.conv3d(x, weights, strides, name)

    def forward_and_backward(x: jax.Array, weights: jax.Array, cotangent: jax.Array):
        outputs, backward = jax.vjp(forward, x, weights)
        gradients = backward(cotangent)
        return outputs, gradients if needs_input_gradient else gradients[1]

    run_forward, run_both = jax.jit(forward), jax.jit(forward_and_backward)
    cotangent = jax.random.normal(
        jax.random.key(0), jax.eval_shape(run_forward, x, weights).shape, x.dtype
    )
    return (
        lambda: jax.block_until_ready(run_forward(x, weights)),
        lambda: jax.block_until_ready(run_both(x, weights, cotangent)),
    )


def _format_sizes(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


if __name__ == "__main__":
    main()
