"""The networks of all seeds as one: an answer is that of the mean of their probabilities."""

from __future__ import annotations

import numpy as np

from mser_jax.evaluate import selection
from mser_jax.evaluate.predictions import Predictions


def average_seeds(predictions: Predictions, rule: str) -> Predictions:
    """One row for each clip, the mean over the seeds of what their chosen heads say.

    All seeds of a fold trained without the clip's subject, and so did what they are together.

    Args:
      predictions: the table, without a fold that failed.
      rule: of `selection.RULES`, by which each seed answers.

    Returns:
      A table of one seed (the first) and one head.
    """
    chosen = selection.choose(predictions, rule)[0]
    columns = (predictions.dataset, predictions.subject, predictions.clip)
    names = ["\n".join(key) for key in zip(*(column.tolist() for column in columns))]
    _, first, clip = np.unique(names, return_index=True, return_inverse=True)
    each = np.bincount(clip)
    mean = np.stack([np.bincount(clip, weights=column) / each for column in chosen.T], axis=1)
    loss = np.bincount(clip, weights=predictions.train_loss.mean(axis=1)) / each
    return Predictions(
        dataset=predictions.dataset[first],
        subject=predictions.subject[first],
        clip=predictions.clip[first],
        seed=np.full(len(first), predictions.seed.min()),
        fold=predictions.fold[first],
        label=predictions.label[first],
        probabilities=mean[:, None].astype(np.float32),
        train_loss=loss[:, None].astype(np.float32),
        class_names=predictions.class_names,
    )
