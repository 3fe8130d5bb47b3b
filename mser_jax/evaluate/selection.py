"""The discriminant network (3.4): the rules that choose which head answers for a clip."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.evaluate.predictions import Predictions

# 'oracle' reads the label of the clip: it is an upper bound, never a result.
UPPER_BOUND = "oracle"
RULES = ("confidence", "mean", "train_loss", UPPER_BOUND)

# Stands for a head's index if the answer is the mean of all heads.
ALL_HEADS = -1


def choose(predictions: Predictions, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Choose the answer of every row: one head, or the mean of all heads.

    The paper takes the "optimal" head and does not say how to find it without the label. Rules:
      'confidence': the head with the highest maximum probability, for each row;
      'mean': the mean of the heads' probabilities;
      'train_loss': the head with the lowest final training loss, for each fold;
      'oracle': whichever head, or the mean, is right, so that no other rule is right more often.
    Ties go to the first head. The probabilities of failed folds are NaN: they have no answer.

    Args:
      predictions: Table of `n` rows, `k` heads and `c` classes.
      rule: One of `RULES`.

    Returns:
      The probabilities of the answers, `[n, c]`, and the heads, `[n]`: 0 to k - 1 or `ALL_HEADS`.

    Raises:
      UserError: The rule does not exist.
    """
    if rule not in RULES:
        raise UserError(check.unknown_message("selection rule", rule, RULES))
    if rule == UPPER_BOUND:
        best = _oracle(predictions.probabilities, predictions.label)
    else:
        best = predictions.train_loss.argmin(axis=1)
    return choose_heads(predictions.probabilities, rule, best, np)


def choose_heads(probabilities: Any, rule: str, best: Any, xp: Any) -> tuple[Any, Any]:
    """Choose the answer of every row without its label, as `choose`.

    Args:
      probabilities: Probabilities of each head, `[n, k, c]`.
      rule: 'confidence', 'mean', or another name, for which `best` answers.
      best: Head of every row, or of each row, `[n]`.
      xp: Module of the arrays, `numpy` or `jax.numpy`.
    """
    if rule == "confidence":
        best = probabilities.max(axis=2).argmax(axis=1)
    elif rule == "mean":
        best = ALL_HEADS
    head = xp.broadcast_to(xp.asarray(best), len(probabilities))
    # The mean comes last, so that ALL_HEADS (-1) indexes it.
    mean = probabilities.mean(axis=1, keepdims=True)
    answers = xp.concatenate([probabilities, mean], axis=1)
    return answers[xp.arange(len(head)), head], head


def _oracle(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Choose the right head with the highest probability of the label.

    The mean is chosen if it is right and no head is. If nothing is right, the head with the highest
    probability of the label is chosen.
    """
    label_probability = np.take_along_axis(probabilities, label[:, None, None], axis=2)[..., 0]
    correct = probabilities.argmax(axis=2) == label[:, None]
    mean_correct = probabilities.mean(axis=1).argmax(axis=1) == label
    only_mean_correct = mean_correct & ~correct.any(axis=1)
    return np.where(only_mean_correct, ALL_HEADS, (label_probability + correct).argmax(axis=1))
