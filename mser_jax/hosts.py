"""Several processes that train one run together, on several machines or on one machine's GPUs."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from data_prep.common.errors import UserError

_BARRIER_TIMEOUT_MS = 30 * 24 * 3600 * 1000  # milliseconds
_ENVIRONMENT_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def use_cores() -> None:
    """Make one JAX device of each CPU core, at least two devices.

    Call this before JAX creates its devices. Folds side by side use the cores better than the
    operations of one fold do. XLA also compiles a program for one device differently than for
    several, while programs for two or more devices agree with each other bit for bit.
    JAX_NUM_CPU_DEVICES or XLA's own flag takes precedence.
    """
    set_by_flag = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not set_by_flag and "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", max(2, _cores()))


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def join_processes() -> None:
    """Connect this process to the other processes of the run.

    Call this before JAX creates its devices. JAX finds the processes by itself under SLURM, Open
    MPI and on cloud TPUs. Elsewhere, set the environment variables JAX_COORDINATOR_ADDRESS
    (host:port of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID. The standard output of
    all processes but the first is discarded, because all of them print the same.

    Raises:
      UserError: The other processes are not found, or do not connect.
    """
    address, count, number = (os.environ.get(name) for name in _ENVIRONMENT_VARIABLES)
    try:
        jax.distributed.initialize(
            coordinator_address=address,
            num_processes=None if count is None else int(count),
            process_id=None if number is None else int(number),
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--distributed: the processes of this run could not connect: {error}\n"
            "Fix: start all of them at about the same time with srun or mpirun, or set "
            f"{', '.join(_ENVIRONMENT_VARIABLES)} for each. Without --distributed, a process runs "
            "alone."
        ) from error
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open to the end)


def check_devices() -> None:
    """Raise UserError if JAX finds no device to compute on.

    Raises:
      UserError: JAX finds no device, or none of the kind in JAX_PLATFORMS.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(
            f"JAX_PLATFORMS={platforms!r}: JAX finds no device "
            f"({str(error) or 'none of that kind'}). Fix: leave JAX_PLATFORMS unset, or install "
            "the software that the device needs (for NVIDIA GPUs: pip install '.[cuda]')."
        ) from error


def is_first() -> bool:
    """Return whether this is the first process, which writes the shared files."""
    return jax.process_index() == 0


def any_process(value: bool) -> bool:
    """Return whether `value` is true on any process.

    All processes must call this at the same point.
    """
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.process_allgather(jnp.asarray(value)).any())


def broadcast(value: int) -> int:
    """Return the first process's `value` on all processes.

    All processes must call this at the same point.
    """
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(jnp.asarray(value)))


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Run a `with` block in the first process, then in the others.

    The other processes wait. They then run the same block, or find its work done.

    Raises:
      UserError: In the other processes, if the first one failed. Its own message says why.
    """
    if not is_first():
        _wait_for_all()
        if any_process(False):
            raise UserError("The first process of this run stopped. Fix: see its own message.")
    failed = True
    try:
        yield
        failed = False
    finally:
        if is_first():
            _wait_for_all()
            any_process(failed)


def _wait_for_all() -> None:
    """Wait for all processes, for hours if need be.

    The first `any_process` would wait only half a minute.
    """
    multihost.get_barrier_sync_fn()(key="mser_jax", timeout_ms=_BARRIER_TIMEOUT_MS)


def use_compilation_cache() -> None:
    """Store compiled programs, so that later runs of the same shapes need not compile.

    JAX's own variable, JAX_COMPILATION_CACHE_DIR, moves the folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path.home() / ".cache" / "mser_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
