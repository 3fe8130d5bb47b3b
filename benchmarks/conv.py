"""Convolutions and training steps: our lowerings beside XLA's own and PyTorch's.

    taskset -c 0 python -m benchmarks.conv layers --batch 4   the full network's convolutions
    taskset -c 0 python -m benchmarks.conv step --batch 4     a training step at full size
    taskset -c 0 python -m benchmarks.conv folds              a step of 16 folds, smoke network

On a CPU the processor's time is counted, on a GPU the wall clock; `taskset` gives one core. A step
is one of an epoch as `mser_jax.train` runs it: loss, gradients, Adam. PyTorch's network is the twin
of tests/heavy; without PyTorch its rows are left out.
"""

import argparse
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from mser_jax import parallel
from mser_jax import state as states
from mser_jax.augment import Clips, View
from mser_jax.models import MSRes3D, MSRes3DSettings, Network, conv, functional
from mser_jax.train import fold_epoch

try:
    from benchmarks import conv_torch
except ImportError:
    conv_torch: Any = None

Run = Callable[[], object]

STEPS = 3  # of an epoch
PLAIN: dict[str, Any] = {"attention": False, "rc": None, "fusion": False}
NETWORKS = {"plain": PLAIN, "without-fusion": {"fusion": False}, "whole": {}}
SMOKE: dict[str, Any] = {"block": "basic", "width": 8, "depths": (1, 1, 1, 1), "hidden": 32}

# Input without the batch, kernel, strides: the kinds of convolution that the full network has.
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
    parser.add_argument("what", choices=("layers", "step", "folds"))
    parser.add_argument("--batch", type=int, default=4, help="clips of a step")
    parser.add_argument("--folds", type=int, default=16)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument(
        "--native", action="store_true", help="step: XLA's own too; minutes on a CPU"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    flags = parser.parse_args()
    rows = {"layers": _layers, "step": _steps, "folds": _folds}[flags.what](flags)
    packages = ["jax", "jaxlib", "flax", *(["torch"] if conv_torch is not None else [])]
    print(timing.heading(jax.devices()[0].device_kind, packages), end="\n\n")
    print(timing.table(rows))


def _timed(candidates: dict[str, Run], flags: argparse.Namespace) -> dict[str, float]:
    return timing.side_by_side(candidates, flags.rounds, timing.clock(jax.default_backend()))


def _clock() -> str:
    return "CPU" if jax.default_backend() == "cpu" else "wall"


def _layers(flags: argparse.Namespace) -> list[Sequence[object]]:
    """Milliseconds of each kind of convolution, forward / forward and backward."""
    names = [*conv.LOWERINGS, *(["PyTorch"] if conv_torch is not None else [])]
    rows: list[Sequence[object]] = [("input, kernel, strides", "auto is", *names)]
    for shape, kernel, strides in LAYERS:
        if flags.toy:
            shape, kernel = (2, 9, 9, 4), (*kernel[:3], 4, 8)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((flags.batch, *shape)).astype(np.float32)
        weights = rng.standard_normal(kernel).astype(np.float32)
        operands = jnp.asarray(x, flags.dtype), jnp.asarray(weights, flags.dtype)
        ways = {name: _ours(name, *operands, strides) for name in conv.LOWERINGS}
        if conv_torch is not None:
            ways["PyTorch"] = conv_torch.layer(x, weights, strides, flags.dtype)
        forward, both = (
            _timed({name: way[part] for name, way in ways.items()}, flags) for part in (0, 1)
        )
        taken = conv.lowering_of(*operands, strides)
        cells = [f"{1e3 * forward[name]:.1f} / {1e3 * both[name]:.1f}" for name in names]
        what = f"{_by(shape)}, {_by(kernel)}, {_by(strides)}"
        rows.append((what, taken, *cells))
        print(" | ".join(map(str, rows[-1])), flush=True)
    return rows


def _ours(name: str, x: jax.Array, weights: jax.Array, strides: conv.Size) -> tuple[Run, Run]:
    """Forward, and with the gradients; by the clips only where something before them learns."""
    learns = x.shape[-1] != 3

    def forward(x: jax.Array, weights: jax.Array) -> jax.Array:
        with conv.lowering(name):
            return conv.conv3d(x, weights, strides)

    def both(x: jax.Array, weights: jax.Array, cotangent: jax.Array):
        outputs, back = jax.vjp(forward, x, weights)
        gradients = back(cotangent)
        return outputs, gradients if learns else gradients[1]

    one, two = jax.jit(forward), jax.jit(both)
    cotangent = jax.random.normal(jax.random.key(0), one(x, weights).shape, x.dtype)
    return (
        lambda: jax.block_until_ready(one(x, weights)),
        lambda: jax.block_until_ready(two(x, weights, cotangent)),
    )


def _steps(flags: argparse.Namespace) -> list[Sequence[object]]:
    """Seconds of a training step at full size, and what the compiled program needs beside it."""
    networks = {name: NETWORKS[name] for name in flags.networks}
    if flags.batch == 1:
        networks.pop("whole", None)  # PyTorch refuses to normalise a single value
    rows: list[Sequence[object]] = [
        ("network", "way", f"{_clock()} s a step", "ratio to auto", "temporary GB")
    ]
    for network, switches in networks.items():
        model = switches | ({"width": 4, "depths": (1, 1, 1, 1)} if flags.toy else {})
        candidates, memory = {}, {}
        for name in ("auto", "xla") if flags.native else ("auto",):
            candidates[name], memory[name] = _epoch(name, model, flags)
        if conv_torch is not None:
            shape = (flags.batch, *_sides(flags), 3)
            candidates["PyTorch"] = conv_torch.epoch(model, shape, STEPS, flags.dtype)
        seconds = _timed(candidates, flags)
        for name, taken in seconds.items():
            ratio = f"{taken / seconds['auto']:.2f}"
            needed = f"{memory[name] / 1e9:.2f}" if name in memory else ""
            rows.append((network, name, f"{taken / STEPS:.2f}", ratio, needed))
            print(" | ".join(map(str, rows[-1])), flush=True)
    return rows


def _sides(flags: argparse.Namespace) -> tuple[int, int, int]:
    """Time, height and width of a clip."""
    return (4, 24, 24) if flags.toy else (16, 134, 134)


def _epoch(lowering: str, switches: dict[str, Any], flags: argparse.Namespace) -> tuple[Run, int]:
    """An epoch of one fold, and the bytes of its temporary memory."""
    network = _network(lowering, 3, switches, flags)
    optimizer = optax.adam(1e-5)
    steps, side, _ = _sides(flags)
    clips, schedule = _clips(STEPS * flags.batch, steps, side), _schedule(flags.batch)
    kept = [states.create(network, optimizer, jax.random.key(0))]
    one = fold_epoch(network, optimizer, View(side, ("original",), ("u", "v", "strain")))
    compiled = jax.jit(one, donate_argnums=0).lower(kept[0], schedule, clips).compile()

    def run() -> None:
        kept[0], progress = compiled(kept[0], schedule, clips)
        jax.block_until_ready((kept, progress))

    memory = compiled.memory_analysis()
    return run, 0 if memory is None else memory.temp_size_in_bytes


def _folds(flags: argparse.Namespace) -> list[Sequence[object]]:
    """Milliseconds a fold and step of the smoke network, for each lift of each lowering."""
    steps, side = (8, 24) if flags.toy else (8, 56)
    clips, schedule = _clips(STEPS * flags.batch, steps, side), _schedule(flags.batch)
    view, optimizer = View(side, ("original",), ("u", "v", "strain")), optax.adam(1e-5)
    mesh = parallel.fold_mesh(jax.devices()[:1])
    keys = jax.random.split(jax.random.key(0), flags.folds)
    schedules = jnp.stack([schedule] * flags.folds)

    def lifted(lowering: str, lift: str) -> Run:
        network = _network(lowering, 4, SMOKE, flags)
        one = fold_epoch(network, optimizer, view)
        create = functools.partial(states.create, network, optimizer)
        kept = jax.jit(jax.vmap(create))(keys)
        if lift == "loop":
            alone = jax.jit(one)
            each = [jax.tree.map(operator.itemgetter(fold), kept) for fold in range(flags.folds)]
            return lambda: jax.block_until_ready([alone(own, schedule, clips) for own in each])
        run = parallel.over_folds(one, mesh, lift, folded=2)
        kept, shared = parallel.shard((kept, schedules), mesh)
        return lambda: jax.block_until_ready(run(kept, shared, clips))

    ways = [("xla", "loop"), ("xla", "vmap"), ("xla", "map"), ("auto", "vmap"), ("auto", "map")]
    seconds = _timed({f"{way}, {lift}": lifted(way, lift) for way, lift in ways}, flags)
    rows: list[Sequence[object]] = [("lowering, lift", f"{_clock()} ms a fold and step", "ratio")]
    for name, taken in seconds.items():
        each = 1e3 * taken / flags.folds / STEPS
        rows.append((name, f"{each:.1f}", f"{taken / seconds['auto, map']:.2f}"))
    return rows


def _network(lowering: str, classes: int, switches: dict[str, Any], flags) -> Network:
    settings = MSRes3DSettings(classes=classes, dtype=flags.dtype, **switches)
    return functional(lambda rngs: MSRes3D(settings, rngs=rngs), lowering)


def _clips(count: int, steps: int, side: int) -> Clips:
    flow = np.random.default_rng(0).standard_normal((count, steps, side, side, 2))
    return Clips(
        jnp.asarray(flow, jnp.float32), jnp.ones(count), jnp.arange(count, dtype=jnp.int32) % 3
    )


def _schedule(batch: int) -> jax.Array:
    return jnp.arange(STEPS * batch, dtype=jnp.int32).reshape(STEPS, batch)


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


if __name__ == "__main__":
    main()
