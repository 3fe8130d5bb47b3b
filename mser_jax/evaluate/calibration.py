"""Temperature scaling: make the confidence of answers agree with their accuracy.

One number T, fitted on the held-out predictions, turns the probabilities p of an answer into
p^(1/T), normalised. T > 1 lowers the confidence and T < 1 raises it; the most probable class
stays the same.

References:
  Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017: the method,
    and the expected calibration error.
  Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import ndtri

from data_prep.common.errors import UserError
from mser_jax.evaluate import failures, metrics, selection
from mser_jax.evaluate.predictions import Predictions

# The lowest T makes every answer almost certain, the highest all classes almost equally probable.
TEMPERATURE_RANGE = (0.05, 100.0)
MIN_PROBABILITY = 1e-12  # lower bound of probabilities, because 0 has no logarithm
MAX_BINS = 10
MIN_ROWS_PER_BIN = 10  # fewer bins are used if they would hold fewer rows
HISTOGRAM_BINS = 20  # over confidences of 0 to 1


@dataclasses.dataclass(frozen=True)
class Bin:
    """Answers of similar confidence.

    Attributes:
      confidence: Mean confidence of the answers.
      accuracy: Share of the answers that are right.
      interval: 95 % Wilson interval of the accuracy, for `clips` trials.
      clips: Number of distinct clips; with several seeds fewer than answers.
    """

    confidence: float
    accuracy: float
    interval: tuple[float, float]
    clips: int


@dataclasses.dataclass(frozen=True)
class Quality:
    """Quality of probabilities. A row is one clip under one seed; all rows weigh equally.

    Attributes:
      nll: Mean negative log-likelihood of the true classes, nats.
      brier: Mean squared distance to the one-hot true class, summed over the classes; 0 to 2.
      ece: Expected calibration error: the absolute difference between the confidence and the
        accuracy of a bin, averaged over the rows.
      confidence: Mean probability of the answers.
      bins: Bins of about equally many rows, by the confidence before calibration; rows of equal
        confidence share a bin. Calibrated probabilities keep these bins: the cross-fitted
        temperature of a person depends on the answers of the others, and new bins would sort the
        rows by it.
      histogram: Row counts in `HISTOGRAM_BINS` equal intervals of the confidence, from 0 to 1.
    """

    nll: float
    brier: float
    ece: float
    confidence: float
    bins: tuple[Bin, ...]
    histogram: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A temperature, and its effect on clips that it was not fitted on.

    Attributes:
      temperature: Temperature fitted on all rows, for use on new clips.
      cross_fitted: (dataset, subject) -> temperature fitted on the rows of all other people; None
        if there is only one person.
      before: Quality of the network's own probabilities.
      after: Quality after scaling with the cross-fitted temperatures; None without them.
    """

    temperature: float
    cross_fitted: dict[tuple[str, str], float] | None
    before: Quality
    after: Quality | None

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as metrics.json stores it.

        Of the cross-fitted temperatures, only the minimum and the maximum are stored.
        """
        values = None if self.cross_fitted is None else [*self.cross_fitted.values()]
        return {
            "temperature": self.temperature,
            "cross_fitted": None if values is None else [min(values), max(values)],
            "before": _quality_to_dict(self.before),
            "after": None if self.after is None else _quality_to_dict(self.after),
        }


def fit_temperature(predictions: Predictions, rule: str) -> Calibration:
    """Fit a rule's temperature and evaluate it on people it was not fitted on.

    The head is chosen by the unscaled probabilities; only those of the answer are scaled. To
    evaluate, the rows of a person are scaled with the temperature fitted on the rows of all other
    people. (The networks behind those rows had this person among their training clips, as always
    in a cross-validation.)

    Args:
      predictions: Table of held-out predictions. Rows of failed folds have no answer and are left
        out.
      rule: One of `selection.RULES`, except the upper bound.

    Returns:
      The temperature, and the quality of the probabilities before and after scaling.

    Raises:
      UserError: Every fold failed, the rule does not exist, or it reads the labels.
    """
    if rule == selection.UPPER_BOUND:
        raise UserError(
            f"config.evaluation.select: the rule {rule!r} reads the label of the clip, so it has "
            "no confidence to calibrate. Fix: use another --config.evaluation.select."
        )
    table = failures.drop_failed(predictions)
    raw, label = apply_temperature(selection.choose(table, rule)[0], 1.0), table.label
    groups = metrics.Groups(table)
    rows_by_person = [groups.rows(person) for person in range(len(groups.people))]
    cross_fitted, after, bin_of_row = None, None, _assign_bins(raw.max(axis=1))
    if len(rows_by_person) > 1:
        temperatures = [temperature(raw[~own], label[~own]) for own in rows_by_person]
        cross_fitted = dict(zip(groups.people, temperatures))
        temperature_of_row = np.select(rows_by_person, temperatures)[:, None]
        after = _quality(apply_temperature(raw, temperature_of_row), table, bin_of_row)
    before = _quality(raw, table, bin_of_row)
    return Calibration(temperature(raw, label), cross_fitted, before, after)


def apply_temperature(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Return p^(1/T), normalised.

    Args:
      probabilities: `[..., c]`, 0 to 1; values below `MIN_PROBABILITY` are raised to it.
      temperature: T > 0: one number, or an array that broadcasts, such as `[n, 1]` for `n` rows.

    Returns:
      The scaled probabilities, float64 `[..., c]`.
    """
    power = np.exp(_logarithms(probabilities) / temperature)
    return power / power.sum(axis=-1, keepdims=True)


def temperature(probabilities: np.ndarray, label: np.ndarray) -> float:
    """Return the T with the lowest mean negative log-likelihood.

    The likelihood is convex in 1/T, so it has one minimum. The minimum lies at an end of
    `TEMPERATURE_RANGE` if every answer is right, or if the log-probability of the true class is on
    average no higher than the mean over all classes.

    Args:
      probabilities: `[n, c]`.
      label: True classes, `[n]` int.

    Returns:
      T, within `TEMPERATURE_RANGE`.
    """
    logs = _logarithms(probabilities)
    true = logs[np.arange(len(label)), label]

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((np.log(np.exp(logs * inverse).sum(axis=1)) - true * inverse).mean())

    bounds = np.log(TEMPERATURE_RANGE)
    minimum = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(minimum.x))


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Return log probabilities less the row's maximum, so that no power overflows."""
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), MIN_PROBABILITY))
    return logs - logs.max(axis=-1, keepdims=True)


def _quality(probabilities: np.ndarray, table: Predictions, bin_of_row: np.ndarray) -> Quality:
    """Compute the quality of a table's probabilities.

    Args:
      probabilities: `[n, c]`.
      table: Table of `n` rows.
      bin_of_row: Bin index of each row, `[n]`.
    """
    label, confidence = table.label, probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == label
    bins = [
        _make_bin(confidence, correct, table, bin_of_row == index)
        for index in np.unique(bin_of_row)
    ]
    gaps = np.bincount(bin_of_row, weights=confidence - correct)
    one_hot = np.eye(probabilities.shape[1])[label]
    true_probability = np.maximum(probabilities[np.arange(len(label)), label], MIN_PROBABILITY)
    return Quality(
        nll=float(-np.log(true_probability).mean()),
        brier=float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        ece=float(np.abs(gaps).sum() / len(label)),
        confidence=float(confidence.mean()),
        bins=tuple(bins),
        histogram=tuple(np.histogram(confidence, bins=HISTOGRAM_BINS, range=(0, 1))[0].tolist()),
    )


def _assign_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin index of each row, `[n]`.

    Bins are empty if many rows have the same confidence.
    """
    count = min(MAX_BINS, max(len(confidence) // MIN_ROWS_PER_BIN, 1))
    confidence = np.round(confidence, 13)  # rounding errors must not separate equal confidences
    edges = np.quantile(confidence, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, confidence)


def _make_bin(
    confidence: np.ndarray, correct: np.ndarray, table: Predictions, rows: np.ndarray
) -> Bin:
    accuracy, clips = float(correct[rows].mean()), metrics.count_clips(table.take(rows))
    return Bin(float(confidence[rows].mean()), accuracy, _wilson(accuracy, clips), clips)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's interval of a share of `count` independent trials.

    Its width is not zero even if the share is 0 or 1.
    """
    z = float(ndtri((1 + metrics.CONFIDENCE_LEVEL) / 2))
    centre = share + z**2 / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return float(max((centre - half) / scale, 0)), float(min((centre + half) / scale, 1))


def _quality_to_dict(quality: Quality) -> dict[str, Any]:
    """Return the quality as JSON gives it back: lists in place of tuples."""
    bins = [{**vars(bin_), "interval": [*bin_.interval]} for bin_ in quality.bins]
    return {**vars(quality), "bins": bins, "histogram": [*quality.histogram]}
