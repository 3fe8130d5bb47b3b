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
    """Count `[c, c]`: rows are the true class, columns the answer.

    Args:
      label: `[n]` int.
      prediction: `[n]` int.
      classes: c.
    """
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (label, prediction), 1)
    return counts


def per_class(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class (eq. 4.2-4.4), each `[..., c]`; 0 where it is 0 / 0.

    Args:
      counts: `[..., c, c]` as from `confusion`.
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    true = counts.sum(axis=-1)
    answered = counts.sum(axis=-2)
    return _ratio(hits, answered), _ratio(hits, true), _ratio(2 * hits, true + answered)


def summary(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Every score of one confusion matrix, or of a stack of them.

    `uf1` and `uar` (MEGC 2019) are the unweighted means over the classes of F1 and recall; NaN
    where a class has no clip, because no convention for 0 / 0 is a fair score. `f1_macro` is the
    same mean as `uf1`, with 0 for an absent class as scikit-learn has it. The paper says F1 and
    not which mean: here macro, weighted (by the number of clips) and micro (which for one answer
    a clip is the accuracy) all have their names.

    Args:
      counts: `[..., c, c]` as from `confusion`; may be fractions of clips.

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
    """The scores of `summary`, mean over the seeds, as plain values; None where not defined.

    Args:
      counts: `[seeds, c, c]` confusion matrices.
    """
    return {name: _float_or_none(values.mean()) for name, values in summary(counts).items()}


def seed_std(counts: np.ndarray) -> dict[str, float | None] | None:
    """The standard deviation (n - 1) over the seeds of the scores of `summary`; None of one seed.

    Args:
      counts: `[seeds, c, c]` confusion matrices.
    """
    if len(counts) == 1:
        return None
    return {name: _float_or_none(values.std(ddof=1)) for name, values in summary(counts).items()}


def check_all_classes_present(predictions: Predictions) -> None:
    """Refuse a table without which UF1 and UAR are not defined.

    Raises:
      UserError: names the classes that have no clip.
    """
    if absent := absent_classes(predictions):
        raise UserError(
            f"no clip of class {absent} is in the table of predictions: UF1 and UAR "
            "are not defined. Evaluate all subjects, or a data set with only the other classes."
        )


def absent_classes(predictions: Predictions) -> str:
    """The classes without a clip, in words; '' where every class has one."""
    present = np.bincount(predictions.label, minlength=len(predictions.class_names))
    return ", ".join(name for name, count in zip(predictions.class_names, present) if not count)


def count_clips(predictions: Predictions) -> int:
    """How many clips the rows speak of, whatever the number of seeds."""
    columns = (predictions.dataset, predictions.subject, predictions.clip)
    return len(set(zip(*(column.tolist() for column in columns))))


def confusion_by_subject(predictions: Predictions, rule: str) -> np.ndarray:
    """Confusion matrices `[seeds, subjects, c, c]`; seeds and subjects in their sorted order.

    Raises:
      UserError: there is no such rule.
    """
    return Groups(predictions).counts(rule)


def bootstrap(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> dict:
    """Percentile interval of the scores under resampling of the subjects, with replacement.

    Subjects and not clips, because the clips of one face are not independent. A resample in which a
    class has no clip has no UF1 and no UAR: it is left out of these two intervals (never counted
    as 1 or 0), and `undefined` says how many were. With several seeds a resample's score is the
    mean over the seeds.

    Args:
      counts: `[seeds, subjects, c, c]` confusion matrices.
      resamples: how many.
      seed: of the drawing.

    Returns:
      level, resamples, undefined, and [low, high] of accuracy, uf1 and uar (None when no resample
      defines it).
    """
    return intervals(resample_scores(counts, resamples, seed))


def resample_scores(
    counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """The scores of every resample of the subjects, each `[resamples, seeds]`.

    Tables with the same number of subjects get the same resamples: their scores are paired.

    Args:
      counts: `[seeds, subjects, c, c]` confusion matrices.
      resamples: how many.
      seed: of the drawing.
    """
    subjects = counts.shape[1]
    random = np.random.default_rng(seed)
    drawn = random.multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples)
    return summary(np.einsum("rs,gsij->rgij", drawn, counts))


def intervals(scores: Mapping[str, np.ndarray]) -> dict:
    """Percentile intervals of what `resampled` returned, or of the difference of two such.

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
    """The rows by seed and by person, a person being (dataset, subject).

    Attributes:
      seeds: `[seeds]`, sorted.
      people: (dataset, subject) of each, sorted.
    """

    def __init__(self, predictions: Predictions):
        self._predictions = predictions
        self.seeds, self._seed_index = np.unique(predictions.seed, return_inverse=True)
        keys = list(zip(predictions.dataset.tolist(), predictions.subject.tolist()))
        self.people = sorted(set(keys))
        slot = {person: index for index, person in enumerate(self.people)}
        self._person_index = np.array([slot[key] for key in keys])

    def counts(self, rule: str) -> np.ndarray:
        """`[seeds, people, c, c]` confusion matrices."""
        classes = len(self._predictions.class_names)
        answer = selection.choose(self._predictions, rule)[0].argmax(axis=1)
        counts = np.zeros((len(self.seeds), len(self.people), classes, classes), int)
        np.add.at(
            counts, (self._seed_index, self._person_index, self._predictions.label, answer), 1
        )
        return counts

    def rows(self, person: int) -> np.ndarray:
        """The mask of a person's rows."""
        return self._person_index == person


def _float_or_none(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)


def _ratio_or_nan(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator > 0, _ratio(numerator, denominator), np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(
        numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator != 0
    )
