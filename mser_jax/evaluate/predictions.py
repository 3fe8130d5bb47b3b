"""The table of held-out predictions: the only result of a run, from which all scores derive."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Held-out predictions: one row for each clip and seed.

    The fold of a row has not trained on the clip or, except under 'leave_one_sample_out', on any
    clip of its subject. The table has `n` rows, `k` heads and `c` classes.

    Attributes:
      dataset: Database of the clip, `[n]` text.
      subject: Subject of the clip, `[n]` text; unique within a database only, so a person is a
        (dataset, subject) pair.
      clip: Name of the clip, `[n]` text; unique within a subject.
      seed: Seed of the training that made the row, `[n]` int.
      fold: Name of the held-out split, `[n]` text.
      label: True class, `[n]` int, index into `class_names`.
      probabilities: Softmax of each head, `[n, k, c]` float32; NaN if the fold failed.
      train_loss: Final training loss of the fold for each head, `[n, k]` float32; NaN if the fold
        failed.
      class_names: Names of the `c` classes.

    Raises:
      ValueError: Shapes disagree, a label is not a class, or a row is only partly finite.
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
            raise ValueError(f"{classes} probabilities per head, {len(self.class_names)} classes")
        if self.train_loss.shape != (rows, heads):
            raise ValueError(f"train_loss is {self.train_loss.shape}, not {(rows, heads)}")
        for name in ("dataset", "subject", "clip", "seed", "fold", "label"):
            if getattr(self, name).shape != (rows,):
                raise ValueError(f"{name} is {getattr(self, name).shape}, not {(rows,)}")
        if rows and not (self.label.min() >= 0 and self.label.max() < classes):
            raise ValueError(f"a label is outside 0..{classes - 1}")
        finite = np.isfinite(self.probabilities).all(axis=(1, 2))
        finite &= np.isfinite(self.train_loss).all(axis=1)
        if not (finite | self.failed).all():
            raise ValueError("some probabilities or training losses of a row are not finite")

    def __len__(self) -> int:
        return len(self.label)

    @property
    def failed(self) -> np.ndarray:
        """Mask `[n]` of the rows without an answer because their fold's training diverged."""
        no_probabilities = np.isnan(self.probabilities).all(axis=(1, 2))
        return no_probabilities & np.asarray(np.isnan(self.train_loss).all(axis=1))

    def take(self, rows: np.ndarray) -> Predictions:
        """Return the table of some rows.

        Args:
          rows: Mask `[n]`, or row indices in the order wanted.
        """
        columns = [field.name for field in dataclasses.fields(self) if field.name != "class_names"]
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in columns})
