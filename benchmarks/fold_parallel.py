"""Many folds at once: lifts and numbers of devices, and PyTorch with the same network.

    taskset -c 0 python -m benchmarks.fold_parallel ways        16 folds x 50 steps of STSTNet
    taskset -c 0 python -m benchmarks.fold_parallel lowerings   a step of the smoke network
    taskset -c 0 python -m benchmarks.fold_parallel devices     the small network on 1, 2, 4, 8
    python -m benchmarks.fold_parallel full --dtype bfloat16    for a GPU: folds per device

On a CPU the times are CPU time, and the devices are fake: threads of one process on the cores that
`taskset` gives. They show what each further device costs, not how much faster it is. PyTorch's
network is the twin in tests/helpers; without PyTorch its rows are left out.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from benchmarks import timing, training
from benchmarks.training import Run
from mser_jax import parallel
from mser_jax.data.augment import Clips, View
from mser_jax.data.feed import Resident
from mser_jax.models import Network
from mser_jax.train import throughput
from mser_jax.train.trainer import Trainer

try:
    from benchmarks import fold_parallel_torch
except ImportError:
    fold_parallel_torch: Any = None

Row = Sequence[object]

LIFTS = ("vmap", "map")
LOOP = "PyTorch, fold by fold"
# Clips seen when training on CASME II as in the paper: folds, clips, variants per clip, epochs.
CASME2 = 26 * 237 * 6 * 100


def main() -> None:
    """Parse the flags and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=TABLES)
    parser.add_argument("--folds", type=int, default=16)
    parser.add_argument(
        "--steps", type=int, help="steps per epoch; default 50, or 3 for the larger networks"
    )
    parser.add_argument(
        "--batch", type=int, help="clips per step; default 64, or 4 for the larger networks"
    )
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--lifts", nargs="+", choices=LIFTS, default=[*LIFTS])
    parser.add_argument("--folds-per-device", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--toy", action="store_true", help="small sizes, to see that it runs")
    flags = parser.parse_args()
    small = flags.what in ("ways", "devices")
    flags.steps, flags.batch = (
        flags.steps or (50 if small else 3),
        flags.batch or (64 if small else 4),
    )
    if flags.toy:
        flags.folds, flags.steps, flags.batch, flags.rounds = 3, 2, 2, 1
        flags.devices, flags.folds_per_device = flags.devices[:2], flags.folds_per_device[:1]
    if flags.what == "devices":
        jax.config.update("jax_num_cpu_devices", max(flags.devices))
    rows = TABLES[flags.what](flags)
    packages = ["jax", "jaxlib", "flax", *(["torch"] if fold_parallel_torch is not None else [])]
    print(timing.heading(jax.devices()[0].device_kind, packages), "Seed 0.", end="\n\n")
    print(timing.table(rows))


def _measure(candidates: dict[str, Run], flags: argparse.Namespace) -> dict[str, float]:
    return timing.side_by_side(candidates, flags.rounds, timing.clock(jax.default_backend()))


def _time_unit() -> str:
    return "CPU s" if jax.default_backend() == "cpu" else "s"


def _small_setup(flags: argparse.Namespace) -> tuple[Callable[..., Trainer], Clips]:
    """Create the small network's clips and a function that creates its trainers.

    Returns:
      (make, clips): `make(lift, devices=1)` creates the trainer; the clips are random.
    """
    side = 10 if flags.toy else 28
    network, view = training.ststnet(side), View(side, ("original",), ())
    clips = training.clips(flags.steps * flags.batch, (1, side, side, 3))

    def make(lift: str, devices: int = 1) -> Trainer:
        mesh = parallel.fold_mesh(jax.devices()[:devices])
        sizes = {"folds": flags.folds, "batch": flags.batch}
        return training.make_trainer(network, view, clips, mesh=mesh, lift=lift, **sizes)

    return make, clips


def _large_run(
    network: Network, clips: Clips, folds: int, lift: str, batch: int
) -> tuple[Run, float]:
    """Create the run of a flow network's folds on one device.

    Returns:
      (run, memory): the run, and the temporary memory of its program in GB.
    """
    view = View(clips.pixels.shape[2], ("original",), training.FLOW)
    mesh = parallel.fold_mesh(jax.devices()[:1])
    sizes = {"folds": folds, "batch": batch}
    trainer = training.make_trainer(network, view, clips, mesh=mesh, lift=lift, **sizes)
    return training.lifted_run(trainer, clips)


def _ways(flags: argparse.Namespace) -> list[Row]:
    """Measure every way to train the folds of the small network on one device."""
    make, clips = _small_setup(flags)
    runs = {"ours, fold by fold": _fold_by_fold(make("map"), clips)}
    runs |= {f"ours, {lift}": training.lifted_run(make(lift), clips)[0] for lift in flags.lifts}
    if fold_parallel_torch is not None:
        runs |= fold_parallel_torch.ways(clips, flags.folds, flags.steps, flags.batch)
    seconds = _measure(runs, flags)
    reference = LOOP if LOOP in seconds else next(iter(seconds))
    rows: list[Row] = [
        ("way", _time_unit(), "ms a fold and step", f"times as fast as: {reference}")
    ]
    for name, duration in seconds.items():
        per_step = 1e3 * duration / flags.folds / flags.steps
        rows.append(
            (name, f"{duration:.2f}", f"{per_step:.2f}", f"{seconds[reference] / duration:.2f}")
        )
    return rows


def _fold_by_fold(trainer: Trainer, clips: Clips) -> Run:
    """Create the usual run: a program of one fold, called for each fold in turn."""
    trainers = [dataclasses.replace(trainer, folds=[fold], slots=1) for fold in trainer.folds]
    feed = Resident(clips, trainers[0].mesh)
    compiled = training.program(trainers[0], feed)
    runs = [training.runner(compiled, fold_trainer, feed) for fold_trainer in trainers]
    return lambda: [run() for run in runs]


def _lowerings(flags: argparse.Namespace) -> list[Row]:
    """Measure each lift of each lowering of the convolutions, with the smoke network."""
    steps, side = (4, 20) if flags.toy else (8, 56)
    clips = training.clips(flags.steps * flags.batch, (steps, side, side, 2))
    runs = {}
    switches = training.TOY if flags.toy else training.SMOKE
    for lowering in ("xla", "auto"):
        network = training.msres3d(lowering, dtype=flags.dtype, **switches)
        for lift in flags.lifts:
            run, _ = _large_run(network, clips, flags.folds, lift, flags.batch)
            runs[f"{lowering}, {lift}"] = run
    seconds = _measure(runs, flags)
    rows: list[Row] = [("lowering, lift", f"{_time_unit()} a fold and step", "ratio to the last")]
    reference = [*seconds.values()][-1]
    for name, duration in seconds.items():
        rows.append(
            (name, f"{duration / flags.folds / flags.steps:.4f}", f"{duration / reference:.2f}")
        )
    return rows


def _devices(flags: argparse.Namespace) -> list[Row]:
    """Measure the same folds on several numbers of devices.

    Numbers above that of the devices present are skipped. On a CPU the devices share the cores.
    """
    make, clips = _small_setup(flags)
    lift, counts = flags.lifts[-1], [n for n in flags.devices if n <= jax.device_count()]
    runs = {str(n): training.lifted_run(make(lift, n), clips)[0] for n in counts}
    seconds = _measure(runs, flags)
    fake = jax.default_backend() == "cpu"
    first = seconds[str(counts[0])] * (1 if fake else counts[0])
    rows: list[Row] = [(f"{'fake ' if fake else ''}devices ({lift})", _time_unit(), "of linear")]
    for name, duration in seconds.items():
        linear = first if fake else first / int(name)
        rows.append((name, f"{duration:.2f}", f"{linear / duration:.0%}"))
    return rows


def _full(flags: argparse.Namespace) -> list[Row]:
    """Measure folds per device at full size: throughput, memory, hours of CASME II."""
    steps, side = (4, 20) if flags.toy else (16, 134)
    switches: dict[str, Any] = training.TOY if flags.toy else {}
    network = training.msres3d("auto", dtype=flags.dtype, **switches)
    native_network = training.msres3d("xla", dtype=flags.dtype, **switches)
    clips = training.clips(flags.steps * flags.batch, (steps, side, side, 2))
    work = training.operations(native_network, (steps, side, side, len(training.FLOW)))
    peak = throughput.peak_flops(parallel.fold_mesh(jax.devices()[:1]), flags.dtype)
    rows: list[Row] = [
        (
            "folds",
            "lift",
            f"{_time_unit()} a step",
            "clips/s",
            "temporary GB",
            "of peak",
            "CASME II, h",
        )
    ]
    for folds in flags.folds_per_device:
        for lift in flags.lifts:
            run, memory = _large_run(network, clips, folds, lift, flags.batch)
            duration = _measure({"": run}, flags)[""] / flags.steps
            rate = folds * flags.batch / duration
            hours, share = CASME2 / rate / 3600, work * rate / peak
            figures = (
                f"{duration:.3g}",
                f"{rate:.1f}",
                f"{memory:.2f}",
                f"{share:.0%}",
                f"{hours:.1f}",
            )
            rows.append((folds, lift, *figures))
            print(" | ".join(map(str, rows[-1])), flush=True)
    return rows


TABLES = {"ways": _ways, "lowerings": _lowerings, "devices": _devices, "full": _full}


if __name__ == "__main__":
    main()
