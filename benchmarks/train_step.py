"""A training step of the paper's network at full size: ours and PyTorch's.

    taskset -c 0 python -m benchmarks.train_step --batch 4
    python -m benchmarks.train_step --batch 16 --dtype bfloat16 --lowerings xla einsum    for a GPU

A step is a step of an epoch in `mser_jax.train.step`: loss, gradients, Adam. The number of
operations is XLA's count for the network with native convolutions. The peak is measured in the same
run, with a product of square matrices. Times are CPU time on a CPU and wall-clock time on a GPU.
PyTorch's network is the twin in tests/helpers; without PyTorch its rows are left out.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks import timing, training
from mser_jax import parallel
from mser_jax.data.augment import View
from mser_jax.models.ops import conv
from mser_jax.train import throughput

try:
    from benchmarks import train_step_torch
except ImportError:
    train_step_torch: Any = None

STEPS = 3  # Steps per epoch.
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": training.PLAIN,  # The 3D-ResNet50 without the paper's modules.
    "without-fusion": {"fusion": False},
    "whole": {},
}
HEAD = ("network", "way", "s a step", "clips/s", "ratio to the first", "temporary GB")


def main() -> None:
    """Parse the flags and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="clips per step")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument(
        "--lowerings", nargs="+", choices=("auto", *conv.LOWERINGS), default=["auto"]
    )
    parser.add_argument(
        "--remat", action="store_true", help="recompute each stage in the backward pass"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    flags = parser.parse_args()
    rows = _table(flags)
    packages = ["jax", "jaxlib", "flax", *(["torch"] if train_step_torch is not None else [])]
    print(timing.heading(jax.devices()[0].device_kind, packages), "Seed 0.", end="\n\n")
    print(timing.table(rows))


def _table(flags: argparse.Namespace) -> list[Sequence[object]]:
    """Measure every network; return a row for each network and implementation."""
    peak = throughput.peak_flops(parallel.fold_mesh(jax.devices()[:1]), flags.dtype)
    rows: list[Sequence[object]] = [(*HEAD, "GFLOP a clip", f"of {peak / 1e12:.3g} TFLOP/s")]
    for name in flags.networks:
        if flags.batch == 1 and name == "whole":
            continue  # PyTorch refuses to normalise a single value.
        for row in _network(NETWORKS[name] | (training.TOY if flags.toy else {}), peak, flags):
            rows.append((name, *row))
            print(" | ".join(map(str, rows[-1])), flush=True)
    return rows


def _network(switches: dict[str, Any], peak: float, flags: argparse.Namespace):
    """Yield the rows of one network."""
    steps, side = (4, 20) if flags.toy else (16, 134)
    shape = (steps, side, side, len(training.FLOW))
    runs, memory = {}, {}
    for lowering in flags.lowerings:
        runs[lowering], memory[lowering] = _time_ours(lowering, switches, (steps, side), flags)
    if train_step_torch is not None:
        batch_shape = (flags.batch, *shape)
        runs["PyTorch"] = train_step_torch.epoch(switches, batch_shape, STEPS, flags.dtype)
    work = training.operations(training.msres3d("xla", **switches), shape)
    clock = timing.clock(jax.default_backend())
    seconds = timing.side_by_side(runs, flags.rounds, clock)
    for name, duration in seconds.items():
        rate, ratio = STEPS * flags.batch / duration, duration / seconds[flags.lowerings[0]]
        gigabytes = f"{memory[name]:.2f}" if name in memory else ""
        figures = (f"{duration / STEPS:.3g}", f"{rate:.3g}", f"{ratio:.2f}", gigabytes)
        yield (name, *figures, f"{work / 1e9:.3g}", f"{work * rate / peak:.0%}")


def _time_ours(
    lowering: str, switches: dict[str, Any], clip: tuple[int, int], flags: argparse.Namespace
) -> tuple[training.Run, float]:
    steps, side = clip
    network = training.msres3d(lowering, dtype=flags.dtype, remat=flags.remat, **switches)
    clips = training.clips(STEPS * flags.batch, (steps, side, side, 2))
    trainer = training.make_trainer(
        network,
        View(side, ("original",), training.FLOW),
        clips,
        folds=1,
        batch=flags.batch,
        mesh=parallel.fold_mesh(jax.devices()[:1]),
        lift="map",
    )
    return training.lifted_run(trainer, clips)


if __name__ == "__main__":
    main()
