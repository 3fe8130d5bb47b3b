"""The number of folds that train at once: as many as the memory of a device holds."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from humanize import naturalsize

from data_prep.common import files
from data_prep.common.errors import UserError
from mser_jax import hosts, parallel
from mser_jax.data.feed import Feed
from mser_jax.train.trainer import Trainer

MEMORY_SHARE = 0.9  # the rest is for evaluation, fragmentation and the libraries' own memory
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Choices made when a run began to train. A resumed run keeps them.

    Attributes:
      lift: 'vmap' or 'map'.
      at_once: Number of folds of a round.
    """

    lift: str
    at_once: int

    def write(self, path: Path) -> None:
        """Write the plan as JSON.

        Args:
          path: Output file.

        Raises:
          UserError: The file cannot be written.
        """
        files.write_json(path, dataclasses.asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Plan | None":
        """Read a plan; return None if there is no such file.

        Args:
          path: File that `write` wrote.

        Raises:
          UserError: The file cannot be read.
        """
        if not hosts.broadcast(path.is_file()):
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}). Fix: remove it. It is then made anew, and the "
                "run resumes if the same number of folds trains at once."
            ) from error


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled training steps of all folds of a round.

    Attributes:
      run: Compiled function of `Trainer.train_steps`.
      memory: Memory that it needs on a device, its arguments included, bytes.
      copies_memory: Memory for copies of the states while they are saved, where the device is the
        host, bytes.
    """

    run: Callable[..., Any]
    memory: int
    copies_memory: int = 0

    @property
    def total_memory(self) -> int:
        """Memory that a device must have, bytes."""
        return self.memory + self.copies_memory


def compile_steps(trainer: Trainer, feed: Feed) -> Program:
    """Compile the training steps before the first one runs.

    The time of the compilation and the memory of the program are then known in advance.

    Args:
      trainer: Trainer of the folds of a round.
      feed: Feed of the clips.
    """
    window = next(feed.windows(trainer.schedule(0), 0, 1))
    states = jax.eval_shape(trainer.init_state)
    metrics = jax.eval_shape(trainer.zero_metrics)
    sharding = jax.sharding.NamedSharding(trainer.mesh, jax.sharding.PartitionSpec(parallel.AXIS))
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        (states, metrics),
    )
    lowered = trainer.train_steps(streamed=feed.streamed).lower(
        *shapes, window.schedule, trainer.class_weights(), trainer.step_range(0, 0, 0), window.clips
    )
    compiled = lowered.compile()
    return Program(compiled, _program_memory(compiled), _copies_memory(states, trainer))


def _copies_memory(states: Any, trainer: Trainer) -> int:
    """Return the bytes per device that saving a checkpoint takes.

    Only CPU devices share their memory with the host. Measured there: two copies of the states.
    """
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
    """Choose how many folds train at once, and compile their program.

    The program of all folds at once is compiled first, because it will run if it fits. If it does
    not, the programs of one and of two folds per device show what a fold needs.

    Args:
      trainer: Trainer of all folds.
      feed: Feed of the clips.
      folds_per_device: Requested number of folds per device, taken without regard to `limit`; 0 for
        as many as fit.
      limit: Memory of a device that the run may use, bytes.

    Returns:
      The plan, and the program of a round.

    Raises:
      UserError: Not even one fold fits.
    """
    max_folds = trainer.slots // trainer.mesh.devices.size
    folds = min(folds_per_device or max_folds, max_folds)
    plan, program = _compile_plan(trainer, feed, folds)
    if folds_per_device or program.total_memory <= limit:
        return plan, program
    _, smallest = _compile_plan(trainer, feed, 1)
    if smallest.total_memory > limit:
        raise UserError(
            f"One fold needs {naturalsize(smallest.total_memory)}, but a device offers "
            f"{naturalsize(limit)}. Fix: use a smaller --config.train.batch_size, "
            "--config.model.remat=True (not on CPUs), --config.model.dtype=bfloat16, or "
            "--config.parallel.data=streamed."
        )
    per_fold = max(_compile_plan(trainer, feed, 2)[1].total_memory - smallest.total_memory, 1)
    folds = min(1 + (limit - smallest.total_memory) // per_fold, max_folds - 1)
    while folds > 1:  # memory may grow faster than the first two folds suggest
        plan, program = _compile_plan(trainer, feed, folds)
        if program.total_memory <= limit:
            return plan, program
        folds -= 1
    return _compile_plan(trainer, feed, 1)


def _compile_plan(trainer: Trainer, feed: Feed, folds_per_device: int) -> tuple[Plan, Program]:
    """Compile rounds of similar size, of at most `folds_per_device` folds a device."""
    count = len(trainer.folds)
    rounds = -(-count // (folds_per_device * trainer.mesh.devices.size))
    plan = Plan(trainer.lift, -(-count // rounds))
    return plan, compile_steps(trainer.rounds(plan.at_once)[0], feed)


def usable_memory(mesh: jax.sharding.Mesh) -> int:
    """Return the bytes of a device that a run may use.

    The devices of a CPU share the machine's free memory.
    """
    stats = mesh.local_devices[0].memory_stats()
    if stats and "bytes_limit" in stats:
        size = stats["bytes_limit"]
    else:
        size = _free_host_memory() // len(mesh.local_devices)
    return hosts.broadcast(int(MEMORY_SHARE * size) >> 20) << 20


def _free_host_memory() -> int:
    """Return the memory that this process can still use, in bytes.

    That is the free memory of the machine, or the limit of the process's control group if that is
    lower.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    information = Path("/proc/meminfo")
    if information.is_file():
        lines = [line for line in information.read_text().splitlines() if "MemAvailable" in line]
        limits += [1024 * int(line.split()[1]) for line in lines]
    if _CGROUP.is_file() and (limit := _CGROUP.read_text().strip()).isdigit():
        limits.append(int(limit))
    return min(limits)
