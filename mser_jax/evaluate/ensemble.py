"""The ensemble of all seeds: its probabilities are the mean over the seeds."""

from __future__ import annotations

import numpy as np

from mser_jax.evaluate import selection
from mser_jax.evaluate.predictions import Predictions


def average_seeds(predictions: Predictions, rule: str) -> Predictions:
    """Average each clip's probabilities over the seeds.

    The probabilities of a seed are those of its chosen head. All seeds of a fold trained without
    the clip's subject, so their ensemble did too.

    Args:
      predictions: Table of held-out predictions, without rows of failed folds.
      rule: One of `selection.RULES`, applied to each seed.

    Returns:
      A table with one row for each clip, one seed (the lowest) and one head.
    """
    chosen = selection.choose(predictions, rule)[0]
    columns = (predictions.dataset, predictions.subject, predictions.clip)
    names = ["\n".join(key) for key in zip(*(column.tolist() for column in columns))]
    _, first, clip = np.unique(names, return_index=True, return_inverse=True)
    count = np.bincount(clip)
    mean = np.stack([np.bincount(clip, weights=column) / count for column in chosen.T], axis=1)
    loss = np.bincount(clip, weights=predictions.train_loss.mean(axis=1)) / count
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
