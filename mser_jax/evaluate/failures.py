"""Folds whose training diverged: which they are, and what needs every fold to have ended well."""

from __future__ import annotations

from collections import Counter

from data_prep.common.errors import UserError
from mser_jax.evaluate.predictions import Predictions

REMEDY = "Fix: train anew with a smaller --config.train.learning_rate."


def rows_per_training(predictions: Predictions) -> Counter[tuple[str, int]]:
    """The rows of every (fold, seed), in the order of the table."""
    return Counter(zip(predictions.fold.tolist(), predictions.seed.tolist()))


def failed_trainings(predictions: Predictions) -> list[dict]:
    """Fold, seed and number of unanswered clips of every training that failed."""
    counts = rows_per_training(predictions.take(predictions.failed))
    return [{"fold": fold, "seed": seed, "clips": n} for (fold, seed), n in counts.items()]


def check_none_failed(name: str, predictions: Predictions) -> None:
    """Refuse a table in which a fold failed, for what needs an answer to every clip.

    Args:
      name: of the table, for the message.
      predictions: the table.

    Raises:
      UserError: names the first fold that failed.
    """
    if failed := failed_trainings(predictions):
        first = f"fold {failed[0]['fold']}, seed {failed[0]['seed']}"
        raise UserError(
            f"{name}: {len(failed)} of {len(rows_per_training(predictions))} trainings diverged ({first}), "
            f"so that some clips have no answer; a comparison needs them all. {REMEDY}"
        )


def drop_failed(predictions: Predictions) -> Predictions:
    """The rows that have an answer.

    Raises:
      UserError: there is none.
    """
    if predictions.failed.all():
        raise UserError(f"Every fold's training diverged: no clip has an answer. {REMEDY}")
    return predictions.take(~predictions.failed)
