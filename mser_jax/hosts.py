"""Several processes that train one run together: on several machines, or on the GPUs of one."""

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
    """Let a CPU be as many devices as it has cores, at least two; before JAX is asked for them.

    Folds side by side use the cores better than the operations of one fold do. And the program of
    one device is compiled in another way than that of two or more, which among themselves agree to
    the bit. JAX_NUM_CPU_DEVICES, or XLA's own flag, decides otherwise.
    """
    asked = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not asked and "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", max(2, _cores()))


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def join_processes() -> None:
    """Meet the other processes of the run; before anything asks JAX for its devices.

    JAX finds them by itself under SLURM, Open MPI and on cloud TPUs; elsewhere the environment
    variables JAX_COORDINATOR_ADDRESS (host:port of the first), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID name them. What all of them would print, the first one prints.

    Raises:
      UserError: they are not found, or do not come.
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
            f"The processes of this run did not meet: {error}\nFix: start all of them at about "
            f"the same time, by srun or mpirun, or set {', '.join(_ENVIRONMENT_VARIABLES)} for each; without "
            "--distributed a process runs alone."
        ) from error
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end)


def check_devices() -> None:
    """Whether JAX has anything to compute on.

    Raises:
      UserError: it has not.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(
            f"JAX finds no device (JAX_PLATFORMS={asked!r}): {str(error) or 'none of that kind'}. "
            "Fix: leave JAX_PLATFORMS unset, or install what the device needs (for NVIDIA's "
            "GPUs: pip install '.[cuda]')."
        ) from error


def is_first() -> bool:
    """Whether this process is the one that writes what all of them know."""
    return jax.process_index() == 0


def any_process(value: bool) -> bool:
    """Whether it is true on any process; all of them must ask at the same point."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.process_allgather(jnp.asarray(value)).any())


def broadcast(value: int) -> int:
    """The value of the first process, on all of them; all must ask at the same point."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(jnp.asarray(value)))


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """What the first process does while the others wait, and they do, or find done, after it.

    Raises:
      UserError: in the others, when the first one failed; it has said why.
    """
    if not is_first():
        _wait_for_all()
        if any_process(False):
            raise UserError("The first process of this run stopped; its message says why.")
    failed = True
    try:
        yield
        failed = False
    finally:
        if is_first():
            _wait_for_all()
            any_process(failed)


def _wait_for_all() -> None:
    """Wait for all processes, for hours if need be; the first `anywhere` waits half a minute."""
    multihost.get_barrier_sync_fn()(key="mser_jax", timeout_ms=_BARRIER_TIMEOUT_MS)


def use_compilation_cache() -> None:
    """A second run of the same shapes need not compile; JAX's own variable moves the folder."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path.home() / ".cache" / "mser_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
