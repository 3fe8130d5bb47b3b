"""The lift: a function written for one fold, run for all folds on all devices.

`shard_map` gives each device its share of the fold axis. It allows no communication between
devices, and none is needed because folds share nothing. On a device, `vmap` runs the folds at once,
or `map` runs them one after the other, each with its state hot in the cache. Plain `jit` over a
sharded fold axis does neither: a vmapped convolution is a grouped convolution, and the compiler
gathers every fold on every device. (`jax.pmap` is the old spelling of `shard_map`.) The devices may
belong to several processes. Each process then holds its own folds.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "fold"
Tree = Any

# The lift that 'auto' selects on each backend. `map` needs the activations of one fold only, and it
# is faster on CPUs (benchmarks/README.md). Neither lift has been measured on GPUs and TPUs yet.
_LIFTS = {"cpu": "map", "gpu": "map", "tpu": "map"}


def fold_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Create a mesh of devices with one axis, the fold axis.

    Args:
      devices: Devices to use; None means all.

    Returns:
      The mesh over which `over_folds` spreads the folds.
    """
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def mesh_for(folds: int) -> Mesh:
    """Create the mesh of as many devices as this number of folds can use.

    These are the fewest devices that give none of them more folds than all devices would. Further
    devices would train only dummy folds, which on a CPU takes time from the others. With several
    processes, all devices are used.
    """
    devices = jax.devices()
    folds_per_device = -(-folds // len(devices))
    count = len(devices) if jax.process_count() > 1 else -(-folds // folds_per_device)
    return fold_mesh(devices[:count])


def choose_lift(lift: str) -> str:
    """Return 'vmap' or 'map'; 'auto' selects the default of this backend."""
    return _LIFTS[jax.default_backend()] if lift == "auto" else lift


def over_folds(
    function: Callable[..., Tree],
    mesh: Mesh,
    lift: str,
    *,
    num_fold_args: int,
    num_donated_args: int = 0,
    num_sharded_args: int = 0,
) -> Callable[..., Tree]:
    """Lift a function of one fold to all folds.

    Args:
      function: Function of one fold. It takes `num_fold_args` arguments of its fold, then
        arguments that all folds share.
      mesh: Mesh from `fold_mesh`.
      lift: 'vmap' or 'map'.
      num_fold_args: Number of leading arguments that have a fold axis once lifted.
      num_donated_args: Number of leading arguments that the results replace in memory. If it is not
        0, the function returns a tuple of exactly these arguments, updated.
      num_sharded_args: Number of shared arguments, counted from the last, whose leading axis is
        divided among the devices: each device has its own part.

    Returns:
      The jitted function. Its fold arguments and its results have a leading fold axis. The length
      of this axis must be a multiple of the number of devices (see `pad_folds`).
    """
    map_folds = (
        functools.partial(_map_folds_in_place, num_donated_args) if num_donated_args else _map_folds
    )
    lifts = {"vmap": _vmap_folds, "map": map_folds}

    def on_device(*arguments: Tree) -> Tree:
        fold_args, shared_args = arguments[:num_fold_args], arguments[num_fold_args:]
        return lifts[lift](lambda *args: function(*args, *shared_args), fold_args)

    def run(*arguments: Tree) -> Tree:
        num_replicated_args = len(arguments) - num_fold_args - num_sharded_args
        divided, replicated = PartitionSpec(AXIS), PartitionSpec()
        in_specs = (
            (divided,) * num_fold_args
            + (replicated,) * num_replicated_args
            + (divided,) * num_sharded_args
        )
        on_mesh = jax.shard_map(on_device, mesh=mesh, in_specs=in_specs, out_specs=divided)
        return on_mesh(*arguments)

    return jax.jit(run, donate_argnums=tuple(range(num_donated_args)))


def _vmap_folds(function: Callable[..., Tree], fold_args: tuple[Tree, ...]) -> Tree:
    return jax.vmap(function)(*fold_args)


def _map_folds(function: Callable[..., Tree], fold_args: tuple[Tree, ...]) -> Tree:
    return jax.lax.map(lambda args: function(*args), fold_args)


def _map_folds_in_place(
    num_donated_args: int, function: Callable[..., Tree], fold_args: tuple[Tree, ...]
) -> Tree:
    """Map over folds, writing each result in place of its argument.

    `lax.map`, which `_map_folds` uses, would hold every state twice.
    """

    def body(slot: jax.Array, results: tuple[Tree, ...]) -> tuple[Tree, ...]:
        args = jax.tree.map(lambda leaf: leaf[slot], (*results, *fold_args[num_donated_args:]))
        return jax.tree.map(lambda leaf, new: leaf.at[slot].set(new), results, function(*args))

    count = len(jax.tree.leaves(fold_args)[0])
    return jax.lax.fori_loop(0, count, body, fold_args[:num_donated_args])


def shard(tree: Tree, mesh: Mesh) -> Tree:
    """Split the leading axis of every leaf over the devices.

    All processes must pass the same values.
    """
    return _put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Copy every leaf to every device.

    All processes must pass the same values.
    """
    return _put(tree, NamedSharding(mesh, PartitionSpec()))


def _put(tree: Tree, sharding: NamedSharding) -> Tree:
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def fetch(tree: Tree) -> Tree:
    """Gather every leaf as a NumPy array on every process.

    The parts of a leaf may lie on the devices of any process.
    """
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def slots(folds: int, mesh: Mesh) -> int:
    """Return the length of the fold axis, a multiple of the number of devices.

    Dummy folds fill it up.
    """
    return folds + -folds % mesh.devices.size


def pad_folds(array: np.ndarray, slots: int, fill: int) -> np.ndarray:
    """Add dummy folds, filled with `fill`, up to `slots` folds.

    Callers drop the rows of dummy folds from the results.
    """
    missing = slots - len(array)
    return np.concatenate([array, np.full((missing, *array.shape[1:]), fill, array.dtype)])
