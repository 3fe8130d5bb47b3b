"""Scores of held-out predictions, and comparisons of two tables of predictions.

Imports NumPy, SciPy and itself; never `train`: scores must not steer the training.

Score predictions of your own (a person is a (dataset, subject) pair):

>>> import numpy as np
>>> from mser_jax.evaluate import Predictions, fit_temperature, paired_difference, score
>>> predictions = Predictions(
...     dataset=np.full(4, "mine"),
...     subject=np.array(["s1", "s1", "s2", "s2"]),
...     clip=np.array(["a", "b", "c", "d"]),
...     seed=np.zeros(4, int),
...     fold=np.array(["mine/s1", "mine/s1", "mine/s2", "mine/s2"]),
...     label=np.array([0, 1, 0, 1]),
...     probabilities=np.array([[[0.9, 0.1]], [[0.2, 0.8]], [[0.4, 0.6]], [[0.3, 0.7]]]),
...     train_loss=np.full((4, 1), 0.1),
...     class_names=("negative", "positive"),
... )
>>> scores = score(predictions, rule="mean")
>>> print(f"accuracy {scores['accuracy']:.2f}, UF1 {scores['uf1']:.2f}, UAR {scores['uar']:.2f}")
accuracy 0.75, UF1 0.73, UAR 0.75
>>> round(fit_temperature(predictions, rule="mean").temperature, 1) > 0
True
>>> paired_difference(predictions, predictions, rules=("mean", "mean"))["gained"]
0
"""

from typing import TYPE_CHECKING

from data_prep.common import lazy

if TYPE_CHECKING:
    from mser_jax.evaluate.calibration import fit_temperature
    from mser_jax.evaluate.compare.paired import paired_difference
    from mser_jax.evaluate.predictions import Predictions
    from mser_jax.evaluate.predictions_csv import read_csv, write_csv
    from mser_jax.evaluate.scoring import score

__all__ = [
    "Predictions",
    "fit_temperature",
    "paired_difference",
    "read_csv",
    "score",
    "write_csv",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Predictions": "mser_jax.evaluate.predictions",
        "fit_temperature": "mser_jax.evaluate.calibration",
        "paired_difference": "mser_jax.evaluate.compare.paired",
        "read_csv": "mser_jax.evaluate.predictions_csv",
        "score": "mser_jax.evaluate.scoring",
        "write_csv": "mser_jax.evaluate.predictions_csv",
    },
)
