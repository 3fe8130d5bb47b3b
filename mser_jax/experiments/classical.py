"""Baselines without a network, on the same folds: the most frequent class, and support vectors.

scikit-learn fits them; a fold takes a fraction of a second, so that nothing is kept on the way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.svm import SVC
from tqdm import tqdm

from mser_jax.data.augment import IMAGE_CHANNELS
from mser_jax.data.dataset import Dataset
from mser_jax.data.folds import Fold
from mser_jax.evaluate.predictions import Predictions
from mser_jax.experiments import held_out
from mser_jax.experiments.mirror_svm import MirrorSVM

# c: the weight of the errors; the classes weigh alike, as negative clips are more than half.
_PIXEL_MODELS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "majority": lambda: DummyClassifier(strategy="most_frequent"),
        "svm_linear": lambda c: SVC(kernel="linear", C=c, class_weight="balanced"),
        "svm_rbf": lambda c: SVC(kernel="rbf", C=c, class_weight="balanced"),
    }
)

# Of a fold: probabilities `[test, classes]`, and the share of training clips answered wrongly.
FoldClassifier = Callable[[Fold], tuple[np.ndarray, float]]


def predictions(
    name: str,
    settings: Mapping[str, float],
    channels: Sequence[str],
    dataset: Dataset,
    folds: Sequence[Fold],
    *,
    show_progress: bool = False,
) -> Predictions:
    """The table: for every fold its test clips, by what was fitted to its training clips.

    In place of the training loss stands the share of the training clips that are answered wrongly.

    Args:
      name: of `zoo.MODELS`, a classical one.
      settings: its own, as 'c'.
      channels: of the images.
      dataset: the clips, images of flow.
      folds: who trains on what.
      show_progress: show a bar.
    """
    images = np.asarray(dataset.clips.pixels)[:, 0]
    labels, classes = np.asarray(dataset.clips.labels), len(dataset.class_names)
    if name == "mirror_svm":
        answer: FoldClassifier = MirrorSVM(images, labels, classes, dataset.groups, folds[0].seed)
    else:
        chosen = images[..., [IMAGE_CHANNELS.index(channel) for channel in channels]]
        make = _PIXEL_MODELS[name]
        answer = _pixel_classifier(lambda: make(**settings), chosen, labels, classes)
    interval = 0.2 if sys.stderr.isatty() else 10.0  # a log file gets few lines
    bar = tqdm(
        folds,
        "Fitting",
        unit="fold",
        ncols=79,
        mininterval=interval,
        maxinterval=60,
        disable=not show_progress,
    )
    answers, errors = zip(*(answer(fold) for fold in bar))
    return held_out.predictions_from_probabilities(
        folds,
        dataset,
        np.concatenate(answers).astype(np.float32)[:, None],
        np.array(errors, np.float32)[:, None],
    )


def _pixel_classifier(
    make: Callable[[], Any], images: np.ndarray, labels: np.ndarray, classes: int
) -> FoldClassifier:
    """Neither kind says how sure it is: the answer has the probability 1."""
    values = images.reshape(len(images), -1) / 255

    def answer(fold: Fold) -> tuple[np.ndarray, float]:
        model = make().fit(values[fold.train], labels[fold.train])
        error = 1 - model.score(values[fold.train], labels[fold.train])
        return np.eye(classes)[model.predict(values[fold.test])], error

    return answer
