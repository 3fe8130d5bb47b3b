"""Whose a checkpoint is: what must agree before it is gone on from, and what differs if not."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

import mser_jax
from data_prep.common.errors import UserError

# What a checkpoint holds and how; to be raised when the training's states get another meaning.
FORMAT = 2  # 1: the state's fields had other names
_MAX_LISTED = 6  # of the names that differ

_DIFFERENCES = {
    "format": "another format",
    "version": "another version of mser_jax",
    "clips": "other clips",
    "folds": "other folds",
    "arrays": "another network or optimiser",
}


def describe(folds: Sequence[str], clips_id: str) -> dict[str, Any]:
    """What is stored with each checkpoint of a training, as JSON takes it."""
    return {
        "format": FORMAT,
        "version": mser_jax.__version__,
        "clips": clips_id,
        "folds": list(folds),
    }


def array_specs(tree: Any) -> dict[str, str]:
    """Name -> type and shape of each array of ONE fold, of a tree or as Orbax describes it."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{[*leaf.shape[1:]]}"
        for path, leaf in leaves
    }


def check(folder: object, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse what is of another training.

    Args:
      folder: of the checkpoint, for the message.
      theirs: as `belongs`, or `{'arrays': ...}`, of the checkpoint.
      ours: the same of the present training.

    Raises:
      UserError: what differs is shown; of long lists, that alone.
    """
    differ = [name for name in ours if theirs.get(name) != ours[name]]
    if differ:
        shown = [_format_difference(name, theirs.get(name), ours[name]) for name in differ]
        raise UserError(
            f"{folder}: these checkpoints are of {' and '.join(_DIFFERENCES[name] for name in differ)}:\n"
            + "\n".join(shown)
            + f"\nFix: {_remedy(differ, theirs)}give another --workdir, or remove this folder "
            "to train anew."
        )


def _remedy(differ: Sequence[str], theirs: Mapping[str, Any]) -> str:
    """A training is ended by the version that began it, if nothing else differs."""
    if differ == ["version"] and theirs.get("version"):
        return f"go on with that version (pip install mser_jax=={theirs['version']}), "
    return ""


def _format_difference(name: str, theirs: Any, ours: Any) -> str:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        theirs, ours = ([f"{key} {text}" for key, text in each.items()] for each in (theirs, ours))
    if not (isinstance(theirs, list) and isinstance(ours, list)):
        return f"  {name}: theirs {'not recorded' if theirs is None else theirs}, now {ours}"
    gone = [one for one in theirs if one not in {*ours}]
    come = [one for one in ours if one not in {*theirs}]
    if not gone and not come:
        return (
            f"  {name}: in another order: theirs {_format_names(theirs)}; now {_format_names(ours)}"
        )
    return (
        f"  {name}: theirs {len(theirs)}, now {len(ours)}; only theirs: {_format_names(gone)}; only now: "
        f"{_format_names(come)}"
    )


def _format_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(repr(name) for name in names[:_MAX_LISTED]) + more if names else "none"
