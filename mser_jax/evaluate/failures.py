"""Failed folds, whose training diverged: list them, drop them, or refuse tables that have them."""

from __future__ import annotations

from collections import Counter

from data_prep.common.errors import UserError
from mser_jax.evaluate.predictions import Predictions

REMEDY = "Fix: train again with a smaller --config.train.learning_rate."


def rows_per_training(predictions: Predictions) -> Counter[tuple[str, int]]:
    """Count the rows of every (fold, seed), in the order of the table."""
    return Counter(zip(predictions.fold.tolist(), predictions.seed.tolist()))


def failed_trainings(predictions: Predictions) -> list[dict]:
    """List the failed trainings, each with its fold, seed and unanswered clips."""
    counts = rows_per_training(predictions.take(predictions.failed))
    return [{"fold": fold, "seed": seed, "clips": clips} for (fold, seed), clips in counts.items()]


def check_none_failed(name: str, predictions: Predictions) -> None:
    """Raise UserError if a fold of the table failed.

    For functions that need an answer to every clip.

    Args:
      name: Name of the table, for the message.
      predictions: Table of held-out predictions.

    Raises:
      UserError: A fold failed; the message names the first one.
    """
    if failed := failed_trainings(predictions):
        first = f"fold {failed[0]['fold']}, seed {failed[0]['seed']}"
        raise UserError(
            f"{name}: {len(failed)} of {len(rows_per_training(predictions))} trainings diverged "
            f"({first}), so some clips have no answer. A comparison needs an answer to every "
            f"clip. {REMEDY}"
        )


def drop_failed(predictions: Predictions) -> Predictions:
    """Return the table of the rows that have an answer.

    Raises:
      UserError: No row has an answer.
    """
    if predictions.failed.all():
        raise UserError(f"Every fold's training diverged, so no clip has an answer. {REMEDY}")
    return predictions.take(~predictions.failed)
