"""How many folds train at once: as many as the memory of a device holds."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from data_prep.common.errors import UserError
from mser_jax import hosts, parallel
from mser_jax.data.feed import Feed
from mser_jax.train.trainer import Trainer

MEMORY_SHARE = 0.9  # of the memory; the rest is for evaluation, fragments and the libraries' own
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was chosen when a run began to train, kept for when it is resumed.

    Attributes:
      lift: 'vmap' or 'map'.
      at_once: folds of a round.
    """

    lift: str
    at_once: int

    def write(self, path: Path) -> None:
        """Keep it as JSON.

        Raises:
          UserError: the disk does not take it.
        """
        part = path.with_suffix(".part")  # so that a kill leaves a whole one or none
        try:
            part.write_text(json.dumps(dataclasses.asdict(self)) + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written: {error.strerror}. Fix: free space, or give another "
                "--workdir."
            ) from error

    @classmethod
    def read(cls, path: Path) -> "Plan | None":
        """The plan that is kept there, if there is one.

        Raises:
          UserError: it cannot be read.
        """
        if not hosts.broadcast(path.is_file()):
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read: {error}. Fix: remove it; it is made anew, and the run "
                "goes on if the same number of folds trains at once."
            ) from error


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled steps of all folds of a round.

    Attributes:
      run: as `Trainer.train_steps` gives it.
      memory: bytes that it needs on a device, its arguments among them.
      copies_memory: bytes of the states while they are saved, where the device is the host.
    """

    run: Callable[..., Any]
    memory: int
    copies_memory: int = 0

    @property
    def total_memory(self) -> int:
        """Bytes that a device must have."""
        return self.memory + self.copies_memory


def compile_steps(trainer: Trainer, feed: Feed) -> Program:
    """Compile ahead of the first step, so that its time and its memory are known."""
    window = next(feed.windows(trainer.schedule(0), 0, 1))
    states = jax.eval_shape(trainer.init_state)
    metrics = jax.eval_shape(trainer.zero_metrics)
    on_folds = jax.sharding.NamedSharding(trainer.mesh, jax.sharding.PartitionSpec(parallel.AXIS))
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=on_folds),
        (states, metrics),
    )
    lowered = trainer.train_steps(streamed=feed.streamed).lower(
        *shapes, window.schedule, trainer.class_weights(), trainer.step_range(0, 0, 0), window.clips
    )
    compiled = lowered.compile()
    return Program(compiled, _program_memory(compiled), _copies_memory(states, trainer))


def _copies_memory(states: Any, trainer: Trainer) -> int:
    """Of a CPU a checkpoint takes its memory too; measured: the states twice more."""
    if trainer.mesh.local_devices[0].platform != "cpu":
        return 0
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(states))
    return 2 * size // trainer.mesh.devices.size


def _program_memory(compiled: Any) -> int:
    memory = compiled.memory_analysis()
    if memory is None:
        return 0
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )


def choose_plan(
    trainer: Trainer, feed: Feed, folds_per_device: int, limit: int
) -> tuple[Plan, Program]:
    """How many folds train at once, and their program.

    All at once is compiled first, as that is what will run if it fits. If it does not, the
    programs of one and of two folds a device say what a fold needs.

    Args:
      trainer: of all folds.
      feed: of the clips.
      folds_per_device: that were asked for; 0 for as many as fit.
      limit: bytes of a device.

    Raises:
      UserError: not even one fold fits.
    """
    every = trainer.slots // trainer.mesh.devices.size
    folds = min(folds_per_device or every, every)
    plan, program = _compile_plan(trainer, feed, folds)
    if folds_per_device or program.total_memory <= limit:
        return plan, program
    _, one = _compile_plan(trainer, feed, 1)
    if one.total_memory > limit:
        raise UserError(
            f"One fold needs {one.total_memory / 1e9:.1f} GB of a device's {limit / 1e9:.1f} GB. "
            "Fix: a smaller --config.train.batch_size, --config.model.remat=True (not on "
            "CPUs), --config.model.dtype=bfloat16, or --config.parallel.data=streamed."
        )
    each = max(_compile_plan(trainer, feed, 2)[1].total_memory - one.total_memory, 1)
    folds = min(1 + (limit - one.total_memory) // each, every - 1)
    while folds > 1:  # unless two folds said too little about many
        plan, program = _compile_plan(trainer, feed, folds)
        if program.total_memory <= limit:
            return plan, program
        folds -= 1
    return _compile_plan(trainer, feed, 1)


def _compile_plan(trainer: Trainer, feed: Feed, folds_per_device: int) -> tuple[Plan, Program]:
    """At most so many folds a device, in rounds of about the same size."""
    count = len(trainer.folds)
    rounds = -(-count // (folds_per_device * trainer.mesh.devices.size))
    plan = Plan(trainer.lift, -(-count // rounds))
    return plan, compile_steps(trainer.rounds(plan.at_once)[0], feed)


def usable_memory(mesh: jax.sharding.Mesh) -> int:
    """Bytes of a device that a run may use; of a CPU those that are free, shared by its devices."""
    stats = mesh.local_devices[0].memory_stats()
    if stats and "bytes_limit" in stats:
        size = stats["bytes_limit"]
    else:
        size = _host_memory() // len(mesh.local_devices)
    return hosts.broadcast(int(MEMORY_SHARE * size) >> 20) << 20


def _host_memory() -> int:
    """Bytes that are free on this machine, or that the control group of this process may have."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    information = Path("/proc/meminfo")
    if information.is_file():
        free = [line for line in information.read_text().splitlines() if "MemAvailable" in line]
        limits += [1024 * int(line.split()[1]) for line in free]
    if _CGROUP.is_file() and (limit := _CGROUP.read_text().strip()).isdigit():
        limits.append(int(limit))
    return min(limits)
