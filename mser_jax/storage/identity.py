"""The identity of a checkpoint: what must match before a training continues from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

import mser_jax
from data_prep.common.errors import UserError

# The content and layout of a checkpoint. Raise it when the training's states change their meaning.
FORMAT = 2  # In format 1 the state's fields had other names.
_MAX_LISTED = 6  # names that a message lists before "and ... more"

_DIFFERENCES = {
    "format": "another format",
    "version": "another version of mser_jax",
    "clips": "other clips",
    "folds": "other folds",
    "arrays": "another network or optimiser",
}


def describe(folds: Sequence[str], clips_id: str) -> dict[str, Any]:
    """Return the JSON metadata that identifies the training of a checkpoint.

    Args:
      folds: Titles of the folds (name and seed), in the order of the states.
      clips_id: Identifier of the clips and their labels.
    """
    return {
        "format": FORMAT,
        "version": mser_jax.__version__,
        "clips": clips_id,
        "folds": list(folds),
    }


def array_specs(tree: Any) -> dict[str, str]:
    """Return the dtype and shape of each array by name, without the fold axis.

    Args:
      tree: Tree of arrays with a leading fold axis, or Orbax's metadata of one.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{[*leaf.shape[1:]]}"
        for path, leaf in leaves
    }


def check(folder: object, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise UserError if a checkpoint belongs to a training with other settings.

    Args:
      folder: Folder of the checkpoint, for the message.
      theirs: The checkpoint's metadata as from `describe`, or `{'arrays': ...}`.
      ours: The same of the present training.

    Raises:
      UserError: If any entry differs. The message shows each entry that differs; of lists it
        shows only the items that differ.
    """
    differing = [name for name in ours if theirs.get(name) != ours[name]]
    if differing:
        lines = [_format_difference(name, theirs.get(name), ours[name]) for name in differing]
        raise UserError(
            f"{folder}: these checkpoints are of "
            f"{' and '.join(_DIFFERENCES[name] for name in differing)}:\n"
            + "\n".join(lines)
            + f"\nFix: {_remedy(differing, theirs)}give another --workdir, or remove this folder "
            "to start the training again."
        )


def _remedy(differing: Sequence[str], theirs: Mapping[str, Any]) -> str:
    """Return the advice to use the older version if only the version differs."""
    if differing == ["version"] and theirs.get("version"):
        return f"continue with that version (pip install mser_jax=={theirs['version']}), "
    return ""


def _format_difference(name: str, theirs: Any, ours: Any) -> str:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        theirs, ours = (
            [f"{key} {text}" for key, text in entries.items()] for entries in (theirs, ours)
        )
    if not (isinstance(theirs, list) and isinstance(ours, list)):
        return f"  {name}: checkpoint {'not recorded' if theirs is None else theirs}, now {ours}"
    only_theirs = [item for item in theirs if item not in {*ours}]
    only_ours = [item for item in ours if item not in {*theirs}]
    if not only_theirs and not only_ours:
        return (
            f"  {name}: in another order: checkpoint {_format_names(theirs)}; "
            f"now {_format_names(ours)}"
        )
    return (
        f"  {name}: checkpoint {len(theirs)}, now {len(ours)}; only in the checkpoint: "
        f"{_format_names(only_theirs)}; only now: {_format_names(only_ours)}"
    )


def _format_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(repr(name) for name in names[:_MAX_LISTED]) + more if names else "none"
