"""The figures of `recovery`, each with an interval: errors, cosines and classes found."""

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
    """A row of the tables: stages after the face, amplification, reference of the flow."""

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
    """What the flows of a clip's apex have come to, in every variant and in truth.

    Attributes:
      subject: who is seen.
      label: the class.
      range: index into RANGES.
      area: `[n, 2]` px, the flow in the action-unit area.
      cells: `[m]`, the flow's means over the cells of a grid, of root mean square 1.
    """

    subject: str
    label: str
    range: int
    area: Mapping[Variant, np.ndarray]
    cells: Mapping[Variant, np.ndarray]


Figure = Callable[[Sequence[Outcome], Variant], np.ndarray]


def errors(outcomes: Sequence[Outcome], row: Variant) -> np.ndarray:
    """The mean error of each clip in px, after the row's factor for each range: `[clips]`."""
    found = np.zeros(len(outcomes))
    for index in range(len(RANGES)):
        inside = [place for place, outcome in enumerate(outcomes) if outcome.range == index]
        pairs = [(outcomes[place].area[row], outcomes[place].area[TRUTH]) for place in inside]
        factor = sum(np.vdot(f, t) for f, t in pairs) / sum(np.vdot(f, f) for f, _ in pairs)
        found[inside] = [np.linalg.norm(factor * f - t, axis=-1).mean() for f, t in pairs]
    return found


def cosines(outcomes: Sequence[Outcome], row: Variant) -> np.ndarray:
    """The cosine between flow and truth of each clip, over both components: `[clips]`."""
    pairs = [(outcome.area[row], outcome.area[TRUTH]) for outcome in outcomes]
    return np.array([np.vdot(f, t) / (np.linalg.norm(f) * np.linalg.norm(t)) for f, t in pairs])


def hits(outcomes: Sequence[Outcome], row: Variant) -> np.ndarray:
    """Whether the class of each clip is found, subject by subject, in per cent: `[clips]`."""
    cells = np.stack([outcome.cells[row] for outcome in outcomes])
    labels = np.array([outcome.label for outcome in outcomes])
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    subjects = [outcome.subject for outcome in outcomes]
    guesses = cross_val_predict(classifier, cells, labels, groups=subjects, cv=LeaveOneGroupOut())
    return 100.0 * (guesses == labels)


def report(
    figure: Figure, outcomes: Sequence[Outcome], rows: Sequence[Variant], digits: int
) -> str:
    """The table of a figure: its mean by range and over all, and how far from the first row's."""
    ranges = np.array([outcome.range for outcome in outcomes])
    subjects = np.array([outcome.subject for outcome in outcomes])
    first = figure(outcomes, rows[0])
    names = [f"{low:g}-{high:g} px" for low, high in RANGES]
    table = [["magnification", "reference", *names, "all", "less the first row (95 %)"]]
    for row in rows:
        found = figure(outcomes, row)
        means = [found[ranges == index].mean() for index in range(len(RANGES))]
        low, high = timing.interval(found - first, subjects)
        cells = [f"{mean:.{digits}f}" for mean in (*means, found.mean())]
        change = f"{(found - first).mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
        table.append([*row.names, *cells, "" if row == rows[0] else change])
    return timing.table(table)
