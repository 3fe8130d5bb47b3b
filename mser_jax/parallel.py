"""The lift: a function written for one fold, run for all folds on all devices.

`shard_map` gives each device its share of the fold axis and forbids it to talk to the others, as
folds share nothing; on the device `vmap` runs them at once or `map` one after the other, each with
its state hot in the cache. Plain `jit` over a sharded fold axis does neither: a vmapped convolution
is a grouped one, and the compiler gathers every fold on every device. (`jax.pmap` is the old
spelling.) The devices may be those of several processes: each then holds its own folds.
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

# What 'auto' is on a backend. `map` needs the activations of one fold only, and on CPUs it is the
# faster one (benchmarks/README.md). On GPUs and TPUs neither has been measured yet.
_LIFTS = {"cpu": "map", "gpu": "map", "tpu": "map"}


def fold_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Put devices in a row, along the fold axis.

    Args:
      devices: Those to use; None means all.

    Returns:
      The mesh that `over_folds` spreads the folds over.
    """
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def mesh_for(folds: int) -> Mesh:
    """As few devices as give none of them more folds than all devices would.

    Others would train dummies, on a CPU in the others' time. Several processes use all they have.
    """
    devices = jax.devices()
    each = -(-folds // len(devices))
    used = len(devices) if jax.process_count() > 1 else -(-folds // each)
    return fold_mesh(devices[:used])


def choose_lift(lift: str) -> str:
    """'vmap' or 'map': as asked; 'auto' is what is best on this backend."""
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
      function: of one fold: `num_fold_args` arguments of its own, then arguments that all folds share.
      mesh: from `fold_mesh`.
      lift: 'vmap' or 'map'.
      num_fold_args: how many leading arguments have a fold axis once lifted.
      num_donated_args: how many leading arguments the results take the place of. If not 0, the function
        returns a tuple of exactly these, changed.
      num_sharded_args: how many of the shared arguments, the last ones, are a device's own: their leading
        axis is divided among the devices.

    Returns:
      The jitted function; its folded arguments and its results have a leading fold axis, whose
      length must divide by the number of devices (see `pad_folds`).
    """
    in_turn = (
        functools.partial(_map_folds_in_place, num_donated_args) if num_donated_args else _map_folds
    )
    lifts = {"vmap": _vmap_folds, "map": in_turn}

    def on_device(*arguments: Tree) -> Tree:
        own, shared = arguments[:num_fold_args], arguments[num_fold_args:]
        return lifts[lift](lambda *one: function(*one, *shared), own)

    def run(*arguments: Tree) -> Tree:
        alike = len(arguments) - num_fold_args - num_sharded_args
        divided, whole = PartitionSpec(AXIS), PartitionSpec()
        specs = (divided,) * num_fold_args + (whole,) * alike + (divided,) * num_sharded_args
        sharded = jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=divided)
        return sharded(*arguments)

    return jax.jit(run, donate_argnums=tuple(range(num_donated_args)))


def _vmap_folds(function: Callable[..., Tree], fold_args: tuple[Tree, ...]) -> Tree:
    return jax.vmap(function)(*fold_args)


def _map_folds(function: Callable[..., Tree], fold_args: tuple[Tree, ...]) -> Tree:
    return jax.lax.map(lambda one: function(*one), fold_args)


def _map_folds_in_place(
    num_donated_args: int, function: Callable[..., Tree], fold_args: tuple[Tree, ...]
) -> Tree:
    """`_in_turn`, each result where its argument was: `lax.map` would hold every state twice."""

    def fold(slot: jax.Array, results: tuple[Tree, ...]) -> tuple[Tree, ...]:
        one = jax.tree.map(lambda leaf: leaf[slot], (*results, *fold_args[num_donated_args:]))
        return jax.tree.map(lambda leaf, new: leaf.at[slot].set(new), results, function(*one))

    count = len(jax.tree.leaves(fold_args)[0])
    return jax.lax.fori_loop(0, count, fold, fold_args[:num_donated_args])


def shard(tree: Tree, mesh: Mesh) -> Tree:
    """Spread the leading axis of every leaf, the same on all processes, over the devices."""
    return _put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Put the whole of every leaf, the same on all processes, on every device."""
    return _put(tree, NamedSharding(mesh, PartitionSpec()))


def _put(tree: Tree, sharding: NamedSharding) -> Tree:
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> jax.Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put, tree)


def fetch(tree: Tree) -> Tree:
    """Every leaf as a NumPy array on every process, wherever its parts lie."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def slots(folds: int, mesh: Mesh) -> int:
    """The length of the fold axis: the folds, and dummy ones until the devices divide it."""
    return folds + -folds % mesh.devices.size


def pad_folds(array: np.ndarray, slots: int, fill: int) -> np.ndarray:
    """Add dummy folds, filled with `fill`, up to `slots`; their rows go."""
    missing = slots - len(array)
    return np.concatenate([array, np.full((missing, *array.shape[1:]), fill, array.dtype)])
