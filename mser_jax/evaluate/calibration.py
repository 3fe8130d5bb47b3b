"""Temperature scaling: how sure an answer is, made to agree with how often it is right.

One number T, fitted on the held-out predictions, turns the probabilities p of an answer into
p^(1/T), normalised. T > 1 makes less sure, T < 1 surer; which class is the most probable stays.

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

TEMPERATURE_RANGE = (
    0.05,
    100.0,
)  # of T: from next to certain of every answer, to all classes next to alike
MIN_PROBABILITY = 1e-12  # of a probability: that of a class held impossible has no logarithm
MAX_BINS = 10
MIN_ROWS_PER_BIN = 10  # rows that a bin has at least, where that leaves more than one bin
HISTOGRAM_BINS = 20  # of the histogram, over 0..1


@dataclasses.dataclass(frozen=True)
class Bin:
    """The answers that are about as sure as each other.

    Attributes:
      confidence: the mean of theirs.
      accuracy: the share of them that is right.
      interval: of the accuracy, 95 %, Wilson's, for as many clips as there are.
      clips: that they are of; with several seeds fewer than answers.
    """

    confidence: float
    accuracy: float
    interval: tuple[float, float]
    clips: int


@dataclasses.dataclass(frozen=True)
class Quality:
    """How good probabilities are, with every row (a clip, a seed) counted alike.

    Attributes:
      nll: the mean negative log-likelihood of the true classes, in nats.
      brier: the mean squared distance from certainty of the true class, summed over the classes;
        0 to 2.
      ece: the expected calibration error: by how much confidence and accuracy of a bin differ, the
        mean over the rows.
      confidence: the mean probability of the answer.
      bins: of equal mass by the confidence as answered: about as many rows in each, rows of one
        confidence together. What is calibrated has the same bins: people differ in their
        cross-fitted temperature by how others answer, and would be sorted by it.
      histogram: `STEPS` counts of rows, by their confidence from 0 to 1.
    """

    nll: float
    brier: float
    ece: float
    confidence: float
    bins: tuple[Bin, ...]
    histogram: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A temperature, and what it does to clips that it was not fitted on.

    Attributes:
      temperature: fitted on all rows: the one to be used on new clips.
      cross_fitted: (dataset, subject) -> the temperature that the rows of all others give. None of
        a single subject.
      before: of the probabilities as the network gives them.
      after: of those scaled by the cross-fitted temperatures; None where there are none.
    """

    temperature: float
    cross_fitted: dict[tuple[str, str], float] | None
    before: Quality
    after: Quality | None

    def to_dict(self) -> dict[str, Any]:
        """As metrics.json has it: of the cross-fitted temperatures the least and the greatest."""
        each = None if self.cross_fitted is None else [*self.cross_fitted.values()]
        return {
            "temperature": self.temperature,
            "cross_fitted": None if each is None else [min(each), max(each)],
            "before": _quality_to_dict(self.before),
            "after": None if self.after is None else _quality_to_dict(self.after),
        }


def fit_temperature(predictions: Predictions, rule: str) -> Calibration:
    """Fit the temperature of a rule's answers, and try it on people that it was not fitted on.

    The head is chosen from the probabilities as they are; what is scaled are those of the answer.
    A person's own rows are scaled by what the rows of all other people give. (The networks behind
    those rows had this person among their training clips, as everywhere in a cross-validation.)

    Args:
      predictions: the table. Rows of a fold that failed have no answer and are left out.
      rule: one of `selection.RULES` but for the upper bound.

    Returns:
      The temperature, and how good the probabilities are before and after it.

    Raises:
      UserError: every fold failed, there is no such rule, or it reads the labels.
    """
    if rule == selection.UPPER_BOUND:
        raise UserError(
            f"The rule {rule!r} reads the label of the clip that it answers for: there is no "
            "confidence to calibrate. Fix: another --config.evaluation.select."
        )
    table = failures.drop_failed(predictions)
    raw, label = apply_temperature(selection.choose(table, rule)[0], 1.0), table.label
    groups = metrics.Groups(table)
    each = [groups.rows(person) for person in range(len(groups.people))]
    cross, after, which = None, None, _assign_bins(raw.max(axis=1))
    if len(each) > 1:
        values = [temperature(raw[~own], label[~own]) for own in each]
        cross = dict(zip(groups.people, values))
        of_row = np.select(each, values)[:, None]
        after = _quality(apply_temperature(raw, of_row), table, which)
    before = _quality(raw, table, which)
    return Calibration(temperature(raw, label), cross, before, after)


def apply_temperature(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """p^(1/T), normalised.

    Args:
      probabilities: `[..., c]`, 0 to 1; one below `FLOOR` is taken for that.
      temperature: T > 0; one for all, or an array that fits, as `[n, 1]` for each of n rows.

    Returns:
      float64 `[..., c]`.
    """
    power = np.exp(_logarithms(probabilities) / temperature)
    return power / power.sum(axis=-1, keepdims=True)


def temperature(probabilities: np.ndarray, label: np.ndarray) -> float:
    """The T within `RANGE` with the least mean negative log-likelihood of the true classes.

    The likelihood is convex in 1/T, so that there is one least. It lies at an end of the range
    where every answer is right, or where the probabilities say less than nothing.

    Args:
      probabilities: `[n, c]`.
      label: `[n]` int, the true classes.
    """
    logs = _logarithms(probabilities)
    true = logs[np.arange(len(label)), label]

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((np.log(np.exp(logs * inverse).sum(axis=1)) - true * inverse).mean())

    bounds = np.log(TEMPERATURE_RANGE)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Of each probability's ratio to the row's greatest, so that no power of them overflows."""
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), MIN_PROBABILITY))
    return logs - logs.max(axis=-1, keepdims=True)


def _quality(probabilities: np.ndarray, table: Predictions, bin_of_row: np.ndarray) -> Quality:
    """Of the probabilities `[n, c]` of a table's rows, in the bins `bin_of_row`, `[n]`."""
    label, confidence = table.label, probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == label
    bins = [
        _make_bin(confidence, right, table, bin_of_row == each) for each in np.unique(bin_of_row)
    ]
    off = np.bincount(bin_of_row, weights=confidence - right)
    certain = np.eye(probabilities.shape[1])[label]
    true = np.maximum(probabilities[np.arange(len(label)), label], MIN_PROBABILITY)
    return Quality(
        nll=float(-np.log(true).mean()),
        brier=float(((probabilities - certain) ** 2).sum(axis=1).mean()),
        ece=float(np.abs(off).sum() / len(label)),
        confidence=float(confidence.mean()),
        bins=tuple(bins),
        histogram=tuple(np.histogram(confidence, bins=HISTOGRAM_BINS, range=(0, 1))[0].tolist()),
    )


def _assign_bins(confidence: np.ndarray) -> np.ndarray:
    """`[n]` the bin of each row; bins may be empty where many rows have one confidence."""
    count = min(MAX_BINS, max(len(confidence) // MIN_ROWS_PER_BIN, 1))
    confidence = np.round(confidence, 13)  # so that rounding errors part no rows of one confidence
    edges = np.quantile(confidence, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, confidence)


def _make_bin(
    confidence: np.ndarray, correct: np.ndarray, table: Predictions, rows: np.ndarray
) -> Bin:
    accuracy, clips = float(correct[rows].mean()), metrics.count_clips(table.take(rows))
    return Bin(float(confidence[rows].mean()), accuracy, _wilson(accuracy, clips), clips)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The interval of a share of `count` independent trials; of none or all, not of no width."""
    z = float(ndtri((1 + metrics.CONFIDENCE_LEVEL) / 2))
    centre = share + z**2 / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    whole = 1 + z**2 / count
    return float(max((centre - half) / whole, 0)), float(min((centre + half) / whole, 1))


def _quality_to_dict(quality: Quality) -> dict[str, Any]:
    """As JSON gives it back: lists, and no tuples."""
    bins = [{**vars(each), "interval": [*each.interval]} for each in quality.bins]
    return {**vars(quality), "bins": bins, "histogram": [*quality.histogram]}
