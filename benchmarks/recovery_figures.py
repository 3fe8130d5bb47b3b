"""The figures of `recovery` with their intervals: errors, cosines and classes found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from benchmarks import timing

# Longest displacement of the expression at the apex, px of the crop.
RANGES = ((0.3, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 3.0))


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of the tables.

    Attributes:
      stages: Stages after the face stage.
      alpha: Amplification.
      reference: Reference of the flow, 'first' or 'previous'.
    """

    stages: tuple[str, ...]
    alpha: float
    reference: str

    @property
    def names(self) -> tuple[str, str]:
        """The first two cells of the row."""
        if self == TRUTH:
            return "the true motion", ""
        magnified = f"alpha {self.alpha:g}; {', '.join(self.stages)}"
        return magnified if "magnify" in self.stages else "none", self.reference


TRUTH = Variant((), 0.0, "")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The flows of one clip at its apex, for every variant and for the truth.

    Attributes:
      subject: Name of the subject.
      label: Name of the class.
      range: Index into RANGES.
      area: Flow in the action-unit area, in px, `[n, 2]`.
      cells: Means of the flow over the cells of a grid, with root mean square 1, `[m]`.
    """

    subject: str
    label: str
    range: int
    area: Mapping[Variant, np.ndarray]
    cells: Mapping[Variant, np.ndarray]


Figure = Callable[[Sequence[Outcome], Variant], np.ndarray]


def errors(outcomes: Sequence[Outcome], row: Variant) -> np.ndarray:
    """Compute the mean error of each clip in px, `[clips]`.

    Within each range, the flow is first multiplied by the variant's least-squares factor for it.

    Args:
      outcomes: Outcomes of all clips.
      row: Variant, a row of the table.
    """
    errors_px = np.zeros(len(outcomes))
    for index in range(len(RANGES)):
        clips = [i for i, outcome in enumerate(outcomes) if outcome.range == index]
        pairs = [(outcomes[i].area[row], outcomes[i].area[TRUTH]) for i in clips]
        factor = sum(np.vdot(f, t) for f, t in pairs) / sum(np.vdot(f, f) for f, _ in pairs)
        errors_px[clips] = [np.linalg.norm(factor * f - t, axis=-1).mean() for f, t in pairs]
    return errors_px


def cosines(outcomes: Sequence[Outcome], row: Variant) -> np.ndarray:
    """Compute the cosine between flow and truth of each clip, `[clips]`.

    Both components of the area's flow form one vector.

    Args:
      outcomes: Outcomes of all clips.
      row: Variant, a row of the table.
    """
    pairs = [(outcome.area[row], outcome.area[TRUTH]) for outcome in outcomes]
    return np.array([np.vdot(f, t) / (np.linalg.norm(f) * np.linalg.norm(t)) for f, t in pairs])


def hits(outcomes: Sequence[Outcome], row: Variant) -> np.ndarray:
    """Return 100 for each clip whose class is found, else 0, `[clips]`.

    The classifier is linear discriminant analysis, tested by leave-one-subject-out.

    Args:
      outcomes: Outcomes of all clips.
      row: Variant, a row of the table.
    """
    cells = np.stack([outcome.cells[row] for outcome in outcomes])
    labels = np.array([outcome.label for outcome in outcomes])
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    subjects = [outcome.subject for outcome in outcomes]
    guesses = cross_val_predict(classifier, cells, labels, groups=subjects, cv=LeaveOneGroupOut())
    return 100.0 * (guesses == labels)


def report(
    figure: Figure, outcomes: Sequence[Outcome], rows: Sequence[Variant], digits: int
) -> str:
    """Format the table of a figure: means by range and over all, change to first row.

    Args:
      figure: Function that computes the figure of each clip.
      outcomes: Outcomes of all clips.
      rows: Variants; changes are relative to the first.
      digits: Digits after the decimal point.
    """
    ranges = np.array([outcome.range for outcome in outcomes])
    subjects = np.array([outcome.subject for outcome in outcomes])
    first = figure(outcomes, rows[0])
    names = [f"{low:g}-{high:g} px" for low, high in RANGES]
    table = [["magnification", "reference", *names, "all", "less the first row (95 %)"]]
    for row in rows:
        values = figure(outcomes, row)
        means = [values[ranges == index].mean() for index in range(len(RANGES))]
        low, high = timing.interval(values - first, subjects)
        cells = [f"{mean:.{digits}f}" for mean in (*means, values.mean())]
        change = f"{(values - first).mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
        table.append([*row.names, *cells, "" if row == rows[0] else change])
    return timing.table(table)
