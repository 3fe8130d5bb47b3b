"""The weights of a trained network as a file of safetensors: names and arrays, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

from data_prep.common.errors import UserError
from mser_jax.models.network import Network

Tree = Any


def save(path: Path, params: Tree, stats: Tree) -> None:
    """Write parameters and running statistics under their places in the network.

    Args:
      path: of the file.
      params: the network's parameters, as `Network.init` gives them.
      stats: its running statistics.

    Raises:
      OSError: it cannot be written.
    """
    arrays = {**_named_leaves("params", params), **_named_leaves("stats", stats)}
    try:
        save_file({name: np.asarray(value) for name, value in arrays.items()}, path)
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error


def load(path: Path, network: Network) -> tuple[Tree, Tree]:
    """Read what `save` wrote.

    Args:
      path: of the file.
      network: whose weights they must be.

    Returns:
      (params, stats).

    Raises:
      UserError: it cannot be read, or holds the weights of another network (the first difference
        is named).
    """
    try:
        stored = load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: no weights can be read ({error}). Fix: export anew.") from error
    trees = dict(zip(("params", "stats"), jax.eval_shape(network.init, jax.random.key(0))))
    wanted = {k: v for name, tree in trees.items() for k, v in _named_leaves(name, tree).items()}
    _check(path, stored, wanted)
    return tuple(
        jax.tree_util.tree_map_with_path(
            lambda at, _, name=name: stored[_leaf_name(name, at)], tree
        )
        for name, tree in trees.items()
    )


def count(params: Tree) -> int:
    """How many parameters there are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _check(path: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name in [*expected, *stored]:
        found, asked = (_format_array(arrays.get(name)) for arrays in (stored, expected))
        if found != asked:
            raise UserError(
                f"{path}: {name} is {found}, the network of this program has {asked} there. "
                "Fix: load the model with the version of mser_jax that exported it, or export "
                "it anew."
            )


def _format_array(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype} {list(array.shape)}"


def _named_leaves(prefix: str, tree: Tree) -> dict[str, Any]:
    return {_leaf_name(prefix, at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _leaf_name(prefix: str, key_path: tuple[Any, ...]) -> str:
    """`params.blocks.0.layers.1.kernel`: keys and places from the root down."""
    return ".".join(
        [prefix, *(str(getattr(key, "key", getattr(key, "idx", key))) for key in key_path)]
    )
