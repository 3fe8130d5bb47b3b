"""The final network, trained on every clip after the folds have shown how good such networks are.

It has no test clips, and no figure of a report comes from it. `mser_jax.export` makes it a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_prep.common import files
from data_prep.common.errors import UserError
from mser_jax import parallel
from mser_jax.models.network import count_parameters
from mser_jax.storage import weights
from mser_jax.train.engine import Engine
from mser_jax.train.state import State

FOLDER = "final"  # within the folder of the run
WEIGHTS_FILE, FACTS_FILE = "weights.safetensors", "final.json"
# Facts that `save` writes and an export needs.
_REQUIRED_FACTS = frozenset(
    {
        *("class_names", "clips", "subjects", "per_class", "per_dataset", "digest", "seed"),
        *("epochs", "parameters", "train_loss", "command", "date", "versions", "fingerprint"),
    }
)


def is_saved(folder: Path, engine: Engine) -> bool:
    """Return whether `save` has written the state of the last checkpoint."""
    (round_,) = engine.rounds()
    checkpoint, facts = round_.checkpoints.path(round_.end_position), folder / FACTS_FILE
    written = facts.is_file() and (folder / WEIGHTS_FILE).is_file()
    return written and facts.stat().st_mtime >= checkpoint.stat().st_mtime


def save(
    folder: Path,
    engine: Engine,
    labels: np.ndarray,
    dataset_facts: Mapping[str, Any],
    run_facts: Mapping[str, Any],
) -> None:
    """Write the weights after the last epoch, and the facts of their training.

    Args:
      folder: Folder `FOLDER` of the run.
      engine: Engine after its training; its one fold has every clip.
      labels: Class of each clip.
      dataset_facts: Facts of the clips, from `Dataset.facts`.
      run_facts: Facts of the run: versions, date, devices and the like.

    Raises:
      UserError: The training diverged, or the disk is full.
    """
    state = _final_state(engine)
    facts = {
        **dataset_facts,
        "seed": engine.trainer.folds[0].seed,
        "epochs": engine.trainer.settings.epochs,
        "parameters": count_parameters(state.params),
        "train_loss": _train_loss(engine, labels),
        **run_facts,
    }
    with files.atomic_file(folder / WEIGHTS_FILE) as part:
        weights.save(part, state.params, state.batch_stats)
    # The facts are written last: where they exist, the weights are complete.
    files.write_json(folder / FACTS_FILE, facts)


def read_facts(run_folder: Path) -> dict[str, Any]:
    """Read the facts that `save` wrote about the final training of a run.

    Args:
      run_folder: Folder of the run.

    Raises:
      UserError: There is no final training, or its files cannot be read.
    """
    path = run_folder / FOLDER / FACTS_FILE
    if not (path.is_file() and path.with_name(WEIGHTS_FILE).is_file()):
        raise UserError(
            f"{run_folder}: no network has been trained on all clips yet. Fix: repeat the command "
            "that created this folder, with --mode=final."
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if missing := _REQUIRED_FACTS - {*facts}:
            raise ValueError(f"missing: {', '.join(sorted(missing))}")
        return facts
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Fix: remove it, then run the command that made "
            "this run again, with --mode=final. The network is not trained again."
        ) from error


def _final_state(engine: Engine) -> State:
    """Return the state of the only fold after the last epoch."""
    (round_,) = engine.rounds()
    restored = round_.restore()
    state = jax.tree.map(lambda leaf: parallel.fetch(leaf)[0], restored)
    if state.failed[0] >= 0:
        raise UserError(
            f"{engine.folder}: the training on all clips diverged in epoch {state.failed[0] + 1}, "
            "so there is no network to save. Fix: run again with a smaller "
            "--config.train.learning_rate in a new --workdir."
        )
    return state


def _train_loss(engine: Engine, labels: np.ndarray) -> list[float]:
    """Return each head's mean loss on the training clips.

    The rule 'train_loss' chooses the head by this loss.
    """
    log_probabilities = np.asarray(jax.nn.log_softmax(engine.logits()[0]))
    return [float(loss) for loss in -log_probabilities[np.arange(len(labels)), :, labels].mean(0)]
