"""Our tree of weights and statistics, leaf by leaf in the layout of the PyTorch twin."""

# pyright: reportMissingImports=false

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

RENAMED: dict[str, tuple[str | int, ...]] = {
    "bn": ("norm",),
    "running_mean": ("mean",),
    "running_var": ("var",),
    "trunk1": ("chained",),
    "tails1": ("chained_tails",),
    "trunk2": ("plain",),
    "tails2": ("plain_tails",),
    "cam1": ("first",),
    "cam2": ("second",),
    "fc1": ("first",),
    "fc2": ("second",),
    **{f"block{number}": ("blocks", number - 2) for number in (2, 3, 4, 5)},
    **{f"rc{number}": ("rc", number - 1) for number in (1, 2, 3)},
    **{f"up{number}": ("up", 5 - number) for number in (5, 4, 3)},
    **{f"affa{number}": ("affa", 4 - number) for number in (4, 3, 2)},
}
# Of ours, by how many there are: outputs, inputs, then time, height, width. A bias may have more
# axes than the twin's, of size 1.
AXES = {1: (0,), 2: (1, 0), 4: (3, 0, 1, 2), 5: (4, 3, 0, 1, 2)}
TRANSPOSED = (3, 4, 0, 1, 2)
BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def path_of(twin: nn.Module, name: str) -> tuple[str | int, ...]:
    """Where the tensor of a name of the twin lies in our tree."""
    path, module = (), twin
    *parents, leaf = name.split(".")
    for part in parents:
        match module:
            case nn.Sequential():
                path += ("layers", int(part))
            case nn.ModuleList():
                path += (int(part),)
            case _:
                path += RENAMED.get(part, (part,))
        module = module.get_submodule(part)
    if isinstance(module, nn.ConvTranspose3d):
        path = path[:-1]  # ours has its kernel beside its normalisation
    if leaf == "weight":
        return (*path, "scale" if isinstance(module, BATCH_NORMS) else "kernel")
    return path + RENAMED.get(leaf, (leaf,))


def pairs(twin: nn.Module, tree: Any) -> Iterator[tuple[str, Tensor, np.ndarray]]:
    """The twin's tensors by name, and with each our leaf in its layout.

    Args:
      twin: a module of `torch_twin`.
      tree: a pure dict of ours of parameters (or gradients), of running statistics, or of both.

    Yields:
      A name, the twin's tensor, our leaf.

    Raises:
      AssertionError: a leaf of ours has no place in the twin.
    """
    leaves = dict(_flat(tree))
    for name, tensor in (*twin.named_parameters(), *twin.named_buffers()):
        path = path_of(twin, name)
        if path in leaves:
            value = leaves.pop(path)
            owner = twin.get_submodule(name.rpartition(".")[0])
            transposed = isinstance(owner, nn.ConvTranspose3d)
            axes = TRANSPOSED if transposed else AXES[value.ndim]
            yield name, tensor, value.transpose(axes).reshape(tensor.shape)
    assert not leaves, sorted(map(str, leaves))


def _flat(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple, np.ndarray]]:
    if not isinstance(tree, dict):
        yield path, np.asarray(tree)
        return
    for name, value in tree.items():
        yield from _flat(value, (*path, name))
