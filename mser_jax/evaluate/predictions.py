"""The table of held-out predictions: the only result of a run. All figures are functions of it."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """One row for each (clip, seed), made by a fold whose training never saw the clip's subject.

    `n` rows, `k` heads, `c` classes.

    Attributes:
      dataset: `[n]` text, the database of the clip.
      subject: `[n]` text; unique within a database only, so a person is (dataset, subject).
      clip: `[n]` text; unique within a subject.
      seed: `[n]` int, of the training that made the row.
      fold: `[n]` text, the name of the held-out split.
      label: `[n]` int, index into `class_names`.
      probabilities: `[n, k, c]` float32, softmax of each head; NaN where the fold failed.
      train_loss: `[n, k]` float32, the fold's final training loss of each head; NaN there too.
      class_names: the `c` classes.

    Raises:
      ValueError: shapes disagree, a label is no class, or a row is finite in part.
    """

    dataset: np.ndarray
    subject: np.ndarray
    clip: np.ndarray
    seed: np.ndarray
    fold: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray
    train_loss: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self):
        rows, heads, classes = self.probabilities.shape
        if classes != len(self.class_names):
            raise ValueError(f"{classes} probabilities a head, {len(self.class_names)} classes")
        if self.train_loss.shape != (rows, heads):
            raise ValueError(f"train_loss is {self.train_loss.shape}, not {(rows, heads)}")
        for name in ("dataset", "subject", "clip", "seed", "fold", "label"):
            if getattr(self, name).shape != (rows,):
                raise ValueError(f"{name} is {getattr(self, name).shape}, not {(rows,)}")
        if rows and not (self.label.min() >= 0 and self.label.max() < classes):
            raise ValueError(f"a label lies outside 0..{classes - 1}")
        finite = np.isfinite(self.probabilities).all(axis=(1, 2))
        finite &= np.isfinite(self.train_loss).all(axis=1)
        if not (finite | self.failed).all():
            raise ValueError("some probabilities or training losses of a row are not finite")

    def __len__(self) -> int:
        return len(self.label)

    @property
    def failed(self) -> np.ndarray:
        """`[n]` bool: the training of the row's fold diverged, and the row has no answer."""
        lost = np.isnan(self.probabilities).all(axis=(1, 2))
        return lost & np.asarray(np.isnan(self.train_loss).all(axis=1))

    def take(self, rows: np.ndarray) -> Predictions:
        """The table of some rows: those that a mask marks, or indices in their order."""
        columns = [field.name for field in dataclasses.fields(self) if field.name != "class_names"]
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in columns})
