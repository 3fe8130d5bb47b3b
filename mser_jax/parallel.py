"""The lift: a function written for one fold, run for all folds on all devices.

`shard_map` gives each device its share of the fold axis and forbids it to talk to the others, as
folds share nothing; on the device `vmap` runs them at once or `map` one after the other, each with
its state hot in the cache. Plain `jit` over a sharded fold axis does neither: a vmapped convolution
is a grouped one, and the compiler gathers every fold on every device. (`jax.pmap` is the old
spelling.)
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "fold"
Tree = Any


def fold_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """All devices in a row, along the fold axis."""
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def choose_lift(lift: str) -> str:
    """'vmap' or 'map': as asked; 'auto' is 'map', which needs the activations of one fold only."""
    return "map" if lift == "auto" else lift


def over_folds(
    function: Callable[..., Tree], mesh: Mesh, lift: str, *, folded: int, donate: bool = False
) -> Callable[..., Tree]:
    """Lift a function of one fold to all folds.

    Args:
      function: of one fold: `folded` arguments of its own, then arguments that all folds share.
      mesh: from `fold_mesh`.
      lift: 'vmap' or 'map'.
      folded: how many leading arguments have a fold axis once lifted.
      donate: let the result take the memory of the first argument.

    Returns:
      The compiled function; its folded arguments and its results have a leading fold axis, whose
      length must divide by the number of devices (see `pad_folds`).
    """

    def on_device(*arguments: Tree) -> Tree:
        own, shared = arguments[:folded], arguments[folded:]
        if lift == "map":
            return jax.lax.map(lambda one: function(*one, *shared), own)
        return jax.vmap(lambda *one: function(*one, *shared))(*own)

    def run(*arguments: Tree) -> Tree:
        specs = (PartitionSpec(AXIS),) * folded + (PartitionSpec(),) * (len(arguments) - folded)
        sharded = jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(AXIS))
        return sharded(*arguments)

    return jax.jit(run, donate_argnums=(0,) if donate else ())


def shard(tree: Tree, mesh: Mesh) -> Tree:
    """Spread the leading fold axis of every leaf over the devices."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Put the whole of every leaf on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def pad_folds(array: np.ndarray, mesh: Mesh, fill: int) -> np.ndarray:
    """Add dummy folds, filled with `fill`, until the devices divide them; their rows go."""
    missing = -len(array) % mesh.devices.size
    return np.concatenate([array, np.full((missing, *array.shape[1:]), fill, array.dtype)])
