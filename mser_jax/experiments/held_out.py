"""The table of a run: for every fold, the rows of the clips that it never saw."""

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
    """Make the table: for every fold its test clips, and its loss on its own training clips.

    Args:
      folds: in the order of the logits.
      logits: of every clip, as `Engine.logits` returns them; NaN for a fold that failed.
      dataset: the clips and their names.

    Returns:
      `Predictions`, in the order of the folds: one seed after the other.
    """
    log_probabilities = np.asarray(jax.nn.log_softmax(logits))
    labels = np.asarray(dataset.clips.labels)
    held_out = [log_probabilities[slot, fold.test] for slot, fold in enumerate(folds)]
    train_loss = np.stack(
        [
            -log_probabilities[slot, fold.train, :, labels[fold.train]].mean(axis=0)
            for slot, fold in enumerate(folds)
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
    """The rows of every fold's test clips.

    Args:
      folds: in the order of the rows.
      dataset: the clips and their names.
      probabilities: of the test clips, one fold after the other.
      train_loss: of every fold.
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
