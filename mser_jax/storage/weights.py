"""The weights of a trained network as a safetensors file, which holds named arrays and no code."""

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
    """Write parameters and running statistics, named by their paths in the network.

    Args:
      path: Output file.
      params: Parameters of the network, as `Network.init` returns them.
      stats: Running statistics of the network.

    Raises:
      OSError: If the file cannot be written.
    """
    arrays = {**_named_leaves("params", params), **_named_leaves("stats", stats)}
    try:
        save_file({name: np.asarray(value) for name, value in arrays.items()}, path)
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error


def load(path: Path, network: Network) -> tuple[Tree, Tree]:
    """Load the weights that `save` wrote.

    Args:
      path: Input file.
      network: Network that the weights must fit.

    Returns:
      (params, stats).

    Raises:
      UserError: If the file cannot be read or holds the weights of another network. The message
        names the first difference.
    """
    try:
        stored = load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{path}: no weights can be read ({error}). Fix: export the model again."
        ) from error
    trees = dict(zip(("params", "stats"), jax.eval_shape(network.init, jax.random.key(0))))
    expected = {k: v for name, tree in trees.items() for k, v in _named_leaves(name, tree).items()}
    _check(path, stored, expected)
    return tuple(
        jax.tree_util.tree_map_with_path(
            lambda key_path, _, name=name: stored[_leaf_name(name, key_path)], tree
        )
        for name, tree in trees.items()
    )


def _check(path: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name in [*expected, *stored]:
        stored_spec, expected_spec = (
            _format_array(arrays.get(name)) for arrays in (stored, expected)
        )
        if stored_spec != expected_spec:
            raise UserError(
                f"{path}: {name} is {stored_spec}, but the network of this program expects it to "
                f"be {expected_spec}. Fix: load the model with the version of mser_jax that "
                "exported it, or export it again."
            )


def _format_array(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype} {list(array.shape)}"


def _named_leaves(prefix: str, tree: Tree) -> dict[str, Any]:
    return {
        _leaf_name(prefix, key_path): leaf
        for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _leaf_name(prefix: str, key_path: tuple[Any, ...]) -> str:
    """Join the keys and indices of a path, as in `params.blocks.0.layers.1.kernel`."""
    return ".".join(
        [prefix, *(str(getattr(key, "key", getattr(key, "idx", key))) for key in key_path)]
    )
