"""Baselines without a network, on the same folds: the most frequent class, and SVMs.

scikit-learn fits them. A fold takes a fraction of a second, so no intermediate state is saved.
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

# c weights the errors. Classes are balanced, because more than half of the clips are negative.
_PIXEL_MODELS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "majority": lambda: DummyClassifier(strategy="most_frequent"),
        "svm_linear": lambda c: SVC(kernel="linear", C=c, class_weight="balanced"),
        "svm_rbf": lambda c: SVC(kernel="rbf", C=c, class_weight="balanced"),
    }
)

# Maps a fold to probabilities `[test, classes]` and the share of wrongly answered training clips.
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
    """Fit a classical model on every fold and predict the fold's test clips.

    `train_loss` of the table holds the share of training clips that are answered wrongly.

    Args:
      name: Classical model of `zoo.MODELS`.
      settings: Settings of the model, such as 'c'.
      channels: Channels of the images that the model reads; 'mirror_svm' reads all.
      dataset: Clips, as flow images.
      folds: Training and test clips of each fold.
      show_progress: True to show a progress bar.

    Returns:
      The table of held-out predictions, with one head.
    """
    images = np.asarray(dataset.clips.pixels)[:, 0]
    labels, classes = np.asarray(dataset.clips.labels), len(dataset.class_names)
    if name == "mirror_svm":
        classify: FoldClassifier = MirrorSVM(images, labels, classes, dataset.groups, folds[0].seed)
    else:
        inputs = images[..., [IMAGE_CHANNELS.index(channel) for channel in channels]]
        make_model = _PIXEL_MODELS[name]
        classify = _pixel_classifier(lambda: make_model(**settings), inputs, labels, classes)
    interval = 0.2 if sys.stderr.isatty() else 10.0  # keeps log files short
    bar = tqdm(
        folds,
        "Fitting",
        unit="fold",
        ncols=79,
        mininterval=interval,
        maxinterval=60,
        disable=not show_progress,
    )
    answers, errors = zip(*(classify(fold) for fold in bar))
    return held_out.predictions_from_probabilities(
        folds,
        dataset,
        np.concatenate(answers).astype(np.float32)[:, None],
        np.array(errors, np.float32)[:, None],
    )


def _pixel_classifier(
    make_model: Callable[[], Any], images: np.ndarray, labels: np.ndarray, classes: int
) -> FoldClassifier:
    """Return a classifier of pixels.

    The models give no confidence, so their answers get the probability 1.
    """
    values = images.reshape(len(images), -1) / 255

    def classify(fold: Fold) -> tuple[np.ndarray, float]:
        model = make_model().fit(values[fold.train], labels[fold.train])
        error = 1 - model.score(values[fold.train], labels[fold.train])
        return np.eye(classes)[model.predict(values[fold.test])], error

    return classify
