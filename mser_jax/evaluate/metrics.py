"""Scores of a table of held-out predictions (eq. 4.1-4.4; MEGC 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_prep.common.errors import UserError
from mser_jax.evaluate import selection
from mser_jax.evaluate.predictions import Predictions

RESAMPLES = 2000
CONFIDENCE_LEVEL = 0.95
HEADLINE = ("accuracy", "uf1", "uar")  # the scores that get an interval


def confusion(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count the answers by true class and answered class.

    Args:
      label: True classes, `[n]` int.
      prediction: Answered classes, `[n]` int.
      classes: Number of classes, c.

    Returns:
      `[c, c]` int: rows are the true classes, columns the answers.
    """
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (label, prediction), 1)
    return counts


def per_class(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute precision, recall and F1 of each class (eq. 4.2-4.4).

    Args:
      counts: `[..., c, c]`, as from `confusion`.

    Returns:
      Precision, recall and F1, each `[..., c]`; 0 where the ratio is 0 / 0.
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    true = counts.sum(axis=-1)
    answered = counts.sum(axis=-2)
    return _ratio(hits, answered), _ratio(hits, true), _ratio(2 * hits, true + answered)


def summary(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every score of one confusion matrix, or of a stack of them.

    `uf1` and `uar` (MEGC 2019) are the unweighted means of F1 and recall over the classes. They are
    NaN if a class has no clip, because no convention for 0 / 0 is a fair score. `f1_macro` is the
    same mean as `uf1`, but counts 0 for an absent class, as scikit-learn does. The paper reports F1
    and does not say which average, so each average has its own name here: macro, weighted (by the
    number of clips) and micro (equal to the accuracy, as each clip has one answer).

    Args:
      counts: `[..., c, c]`, as from `confusion`; fractions of clips are allowed.

    Returns:
      accuracy (eq. 4.1), uf1, uar, f1_macro, f1_weighted, f1_micro, each `[...]`; all NaN
      without a clip.
    """
    true = counts.sum(axis=-1)
    total = true.sum(axis=-1)
    hits = np.trace(counts, axis1=-2, axis2=-1)
    _, recall, f1 = per_class(counts)
    complete = (true > 0).all(axis=-1)
    return {
        "accuracy": _ratio_or_nan(hits, total),
        "uf1": np.where(complete, f1.mean(axis=-1), np.nan),
        "uar": np.where(complete, recall.mean(axis=-1), np.nan),
        "f1_macro": np.where(total > 0, f1.mean(axis=-1), np.nan),
        "f1_weighted": _ratio_or_nan((f1 * true).sum(axis=-1), total),
        "f1_micro": _ratio_or_nan(2 * hits, 2 * total),
    }


def mean_scores(counts: np.ndarray) -> dict[str, float | None]:
    """Average the scores of `summary` over the seeds.

    Args:
      counts: Confusion matrices, `[seeds, c, c]`.

    Returns:
      Score name -> float; None if the score is undefined.
    """
    return {name: _float_or_none(values.mean()) for name, values in summary(counts).items()}


def seed_std(counts: np.ndarray) -> dict[str, float | None] | None:
    """Compute the standard deviation (n - 1) of the scores over the seeds.

    Args:
      counts: Confusion matrices, `[seeds, c, c]`.

    Returns:
      Score name of `summary` -> float, or None if the score is undefined; None for a single seed.
    """
    if len(counts) == 1:
        return None
    return {name: _float_or_none(values.std(ddof=1)) for name, values in summary(counts).items()}


def check_all_classes_present(predictions: Predictions) -> None:
    """Raise UserError if a class has no clip.

    UF1 and UAR are undefined then.

    Args:
      predictions: Table of held-out predictions.

    Raises:
      UserError: Some classes have no clip; the message names them.
    """
    if absent := absent_classes(predictions):
        raise UserError(
            f"Table of predictions: no clip of class {absent}, so UF1 and UAR are undefined. "
            "Fix: evaluate all subjects, or a data set with only the other classes."
        )


def absent_classes(predictions: Predictions) -> str:
    """Return the names of the classes without a clip, joined; '' if there are none."""
    counts = np.bincount(predictions.label, minlength=len(predictions.class_names))
    return ", ".join(name for name, count in zip(predictions.class_names, counts) if not count)


def count_clips(predictions: Predictions) -> int:
    """Count the distinct clips of the rows, whatever the number of seeds."""
    columns = (predictions.dataset, predictions.subject, predictions.clip)
    return len(set(zip(*(column.tolist() for column in columns))))


def confusion_by_subject(predictions: Predictions, rule: str) -> np.ndarray:
    """Return the confusion matrices of every seed and subject.

    Args:
      predictions: Table of held-out predictions.
      rule: One of `selection.RULES`.

    Returns:
      `[seeds, subjects, c, c]`; seeds and subjects are sorted.

    Raises:
      UserError: The rule does not exist.
    """
    return Groups(predictions).counts(rule)


def bootstrap(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> dict:
    """Compute percentile intervals of the scores by resampling the subjects.

    Subjects are drawn with replacement, rather than clips, because the clips of one face are not
    independent. A resample without any clip of a class has no UF1 and no UAR. It is left out of
    these two intervals (never counted as 1 or 0), and `undefined` counts such resamples. With
    several seeds, the score of a resample is the mean over the seeds.

    Args:
      counts: Confusion matrices, `[seeds, subjects, c, c]`.
      resamples: Number of resamples.
      seed: Seed of the random draws.

    Returns:
      level, resamples, undefined, and [low, high] of accuracy, uf1 and uar (None if no resample
      defines the score).
    """
    return intervals(resample_scores(counts, resamples, seed))


def resample_scores(
    counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Compute the scores of every resample of the subjects.

    Tables with the same number of subjects get the same resamples, so their scores are paired.

    Args:
      counts: Confusion matrices, `[seeds, subjects, c, c]`.
      resamples: Number of resamples.
      seed: Seed of the random draws.

    Returns:
      Score name of `summary` -> `[resamples, seeds]`.
    """
    subjects = counts.shape[1]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples)
    return summary(np.einsum("rs,gsij->rgij", drawn, counts))


def intervals(scores: Mapping[str, np.ndarray]) -> dict:
    """Compute percentile intervals of resampled scores.

    Args:
      scores: Result of `resample_scores`, or the difference of two such results.

    Returns:
      As `bootstrap`.
    """
    tails = [50 * (1 - CONFIDENCE_LEVEL), 50 * (1 + CONFIDENCE_LEVEL)]
    result: dict = {"level": CONFIDENCE_LEVEL, "resamples": len(scores["uf1"])}
    result["undefined"] = int(np.isnan(scores["uf1"]).any(axis=1).sum())
    for name in HEADLINE:
        values = scores[name].mean(axis=1)
        values = values[~np.isnan(values)]
        result[name] = np.percentile(values, tails).tolist() if len(values) else None
    return result


class Groups:
    """Rows of a table, grouped by seed and by person. A person is a (dataset, subject) pair.

    Attributes:
      seeds: Seeds of the table, `[seeds]`, sorted.
      people: (dataset, subject) of each person, sorted.
    """

    def __init__(self, predictions: Predictions):
        self._predictions = predictions
        self.seeds, self._seed_index = np.unique(predictions.seed, return_inverse=True)
        keys = list(zip(predictions.dataset.tolist(), predictions.subject.tolist()))
        self.people = sorted(set(keys))
        indices = {person: index for index, person in enumerate(self.people)}
        self._person_index = np.array([indices[key] for key in keys])

    def counts(self, rule: str) -> np.ndarray:
        """Return the confusion matrices, `[seeds, people, c, c]`."""
        classes = len(self._predictions.class_names)
        answer = selection.choose(self._predictions, rule)[0].argmax(axis=1)
        counts = np.zeros((len(self.seeds), len(self.people), classes, classes), int)
        np.add.at(
            counts, (self._seed_index, self._person_index, self._predictions.label, answer), 1
        )
        return counts

    def rows(self, person: int) -> np.ndarray:
        """Return the mask of the rows of one person, an index of `people`."""
        return self._person_index == person


def _float_or_none(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)


def _ratio_or_nan(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator > 0, _ratio(numerator, denominator), np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(
        numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator != 0
    )
