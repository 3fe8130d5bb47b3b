"""The network that is kept: trained on every clip, once the folds have said what that is worth.

It tests nothing, and no figure of a report comes from it. `mser_jax.export` makes a model of it.
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
from mser_jax.storage import weights
from mser_jax.train.engine import Engine
from mser_jax.train.state import State

FOLDER = "final"  # within that of the run
WEIGHTS_FILE, FACTS_FILE = "weights.safetensors", "final.json"
# What an export needs of `keep`'s facts.
_REQUIRED_FACTS = frozenset(
    {
        *("class_names", "clips", "subjects", "per_class", "per_dataset", "digest", "seed"),
        *("epochs", "parameters", "train_loss", "command", "date", "versions", "fingerprint"),
    }
)


def is_saved(folder: Path, engine: Engine) -> bool:
    """Whether `keep` has written what the last checkpoint holds."""
    (last,) = engine.rounds()
    newest, facts = last.checkpoints.path(last.end_position), folder / FACTS_FILE
    written = facts.is_file() and (folder / WEIGHTS_FILE).is_file()
    return written and facts.stat().st_mtime >= newest.stat().st_mtime


def save(
    folder: Path,
    engine: Engine,
    labels: np.ndarray,
    dataset_facts: Mapping[str, Any],
    run_facts: Mapping[str, Any],
) -> None:
    """Write the weights after the last epoch, and what they were trained on.

    Args:
      folder: the run's folder `FOLDER`.
      engine: trained; its one fold has every clip.
      labels: the class of each clip.
      dataset_facts: facts of the clips, as `Dataset.facts` returns them.
      run_facts: facts of the run: versions, date, devices and the like.

    Raises:
      UserError: the training diverged, or the disk is full.
    """
    state = _final_state(engine)
    facts = {
        **dataset_facts,
        "seed": engine.trainer.folds[0].seed,
        "epochs": engine.trainer.settings.epochs,
        "parameters": weights.count(state.params),
        "train_loss": _train_loss(engine, labels),
        **run_facts,
    }
    with files.atomic_file(folder / WEIGHTS_FILE) as part:
        weights.save(part, state.params, state.batch_stats)
    with files.atomic_file(
        folder / FACTS_FILE
    ) as part:  # last of all: where it is, the weights are whole
        part.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_facts(run_folder: Path) -> dict[str, Any]:
    """What `keep` wrote of the final training of a run.

    Args:
      run_folder: of the run.

    Raises:
      UserError: there is none, or its files cannot be read.
    """
    path = run_folder / FOLDER / FACTS_FILE
    if not (path.is_file() and path.with_name(WEIGHTS_FILE).is_file()):
        raise UserError(
            f"{run_folder}: the network on all clips is not trained yet. Fix: the command that made "
            "this run, with --mode=final."
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if missing := _REQUIRED_FACTS - {*facts}:
            raise ValueError(f"it does not say {', '.join(sorted(missing))}")
        return facts
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read: {error}. Fix: remove it, then the command that made this "
            "run with --mode=final; the training is kept."
        ) from error


def _final_state(engine: Engine) -> State:
    """The one fold's state after the last epoch."""
    (last,) = engine.rounds()
    restored = last.restore()
    state = jax.tree.map(lambda leaf: parallel.fetch(leaf)[0], restored)
    if state.failed[0] >= 0:
        raise UserError(
            f"{engine.folder}: the training on all clips diverged in epoch {state.failed[0] + 1}, "
            "and there is no network to keep. Fix: a smaller --config.train.learning_rate, in "
            "another --workdir."
        )
    return state


def _train_loss(engine: Engine, labels: np.ndarray) -> list[float]:
    """Of each head on its own training clips: what the rule 'train_loss' chooses by."""
    log_probabilities = np.asarray(jax.nn.log_softmax(engine.logits()[0]))
    return [float(loss) for loss in -log_probabilities[np.arange(len(labels)), :, labels].mean(0)]
