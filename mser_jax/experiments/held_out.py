"""The table of a run: for every fold, one row for each of its test clips."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from mser_jax.data.dataset import Dataset
from mser_jax.data.folds import Fold
from mser_jax.evaluate.predictions import Predictions


def predictions_from_logits(
    folds: Sequence[Fold], logits: Float[np.ndarray, "f clip k n"], dataset: Dataset
) -> Predictions:
    """Make the table of held-out predictions from the logits of all clips.

    The training loss of a fold is that of its own training clips.

    Args:
      folds: Folds, in the order of the logits.
      logits: Logits of every clip, as `Engine.logits` returns them; NaN for failed folds.
      dataset: Clips and their names.

    Returns:
      The table, in the order of the folds: one seed after the other.
    """
    log_probabilities = np.asarray(jax.nn.log_softmax(logits))
    labels = np.asarray(dataset.clips.labels)
    held_out = [log_probabilities[index, fold.test] for index, fold in enumerate(folds)]
    train_loss = np.stack(
        [
            -log_probabilities[index, fold.train, :, labels[fold.train]].mean(axis=0)
            for index, fold in enumerate(folds)
        ]
    )
    return predictions_from_probabilities(
        folds, dataset, np.exp(np.concatenate(held_out)), train_loss
    )


def predictions_from_probabilities(
    folds: Sequence[Fold],
    dataset: Dataset,
    probabilities: Float[np.ndarray, "row k n"],
    train_loss: Float[np.ndarray, "f k"],
) -> Predictions:
    """Make the table of held-out predictions from the test clips' probabilities.

    Args:
      folds: Folds, in the order of the rows.
      dataset: Clips and their names.
      probabilities: Probabilities of the test clips, one fold after the other.
      train_loss: Training loss of every fold and head.

    Returns:
      The table, in the order of `probabilities`.
    """
    rows = np.concatenate([fold.test for fold in folds])
    fold_of_row = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
    return Predictions(
        dataset=dataset.dataset[rows],
        subject=dataset.subject[rows],
        clip=dataset.clip[rows],
        seed=np.array([fold.seed for fold in folds])[fold_of_row],
        fold=np.array([fold.name for fold in folds])[fold_of_row],
        label=np.asarray(dataset.clips.labels)[rows],
        probabilities=probabilities,
        train_loss=train_loss[fold_of_row],
        class_names=dataset.class_names,
    )
