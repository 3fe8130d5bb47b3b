"""The discriminant network (3.4): which of the heads answers for a clip."""

from __future__ import annotations

import numpy as np

from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.evaluate.predictions import Predictions

# 'oracle' reads the label of the clip that it answers for: an upper bound, never a result.
UPPER_BOUND = "oracle"
RULES = ("confidence", "mean", "train_loss", UPPER_BOUND)

# In place of a head's index where the answer is the mean of all of them.
ALL_HEADS = -1


def choose(predictions: Predictions, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Answer every row with one head, or with the mean of all.

    The paper takes the "optimal" head and leaves open how it is found without the label:
      'confidence': the head with the highest maximum probability, row by row;
      'mean': the mean of the heads' probabilities;
      'train_loss': the head with the lowest final training loss, fold by fold;
      'oracle': whichever answer is right, head or mean, so that no rule here is more often right.
    A tie goes to the first head. Where the fold failed the probabilities are NaN: no answer.

    Args:
      predictions: the table, `n` rows, `k` heads, `c` classes.
      rule: one of `RULES`.

    Returns:
      The probabilities `[n, c]`, and `[n]` the head, 0 to k - 1 or `ALL_HEADS`.

    Raises:
      UserError: there is no such rule.
    """
    probabilities = predictions.probabilities
    mean = probabilities.mean(axis=1)
    if rule == "confidence":
        head = probabilities.max(axis=2).argmax(axis=1)
    elif rule == "mean":
        head = np.full(len(probabilities), ALL_HEADS)
    elif rule == "train_loss":
        head = predictions.train_loss.argmin(axis=1)
    elif rule == UPPER_BOUND:
        head = _oracle(probabilities, mean, predictions.label)
    else:
        raise UserError(check.unknown_message("selection rule", rule, RULES))
    answers = np.concatenate([probabilities, mean[:, None]], axis=1)  # ALL_HEADS is the last
    return answers[np.arange(len(head)), head], head


def _oracle(probabilities: np.ndarray, mean: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The right head that is surest of the label; the mean where it alone is right."""
    own = np.take_along_axis(probabilities, label[:, None, None], axis=2)[..., 0]
    right = probabilities.argmax(axis=2) == label[:, None]
    mean_alone = (mean.argmax(axis=1) == label) & ~right.any(axis=1)
    return np.where(mean_alone, ALL_HEADS, (own + right).argmax(axis=1))
