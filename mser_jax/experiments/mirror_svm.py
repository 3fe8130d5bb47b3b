"""Support vectors on flow that knows its zero, its scale and the mirror: ours, for few clips.

What is known of an image of flow, rather than learned from 442 of them:

- Most of a face does not move, so that the median of u, and of v, is the zero that stretching the
  channels to 0..255 has moved. Length is lost: each is divided by its root mean square.
- An expression is no other one in a mirror. The kernel is the mean over an image and its mirror
  image (u negated), under which both answer the same (Haasdonk and Burkhardt 2007, "Invariant
  kernel functions for pattern analysis and machine learning", transformation integration kernels).
- Faces are aligned to a pixel or two: the flow is smoothed by a Gaussian.

How wide, how smooth, how much the strain counts and how hard errors are punished are chosen for
each fold by an inner split of its training subjects; the better half of the candidates answers
together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import softmax
from sklearn.svm import SVC

from mser_jax.data import folds as folding
from mser_jax.data.folds import Fold
from mser_jax.evaluate import metrics

INNER_FOLDS = 3
NUM_CHOSEN = 4  # of the candidates
_MIN_RMS = 1e-3  # of a root mean square, so that an image without movement stays finite


class Candidate(NamedTuple):
    """Settings that the inner split chooses from.

    Attributes:
      blur: sigma of the Gaussian, px.
      strain_weight: what the strain is multiplied by, which u and v of root mean square 1 are not.
      gamma: g of the kernel exp(-g d), d the mean squared difference of two images.
      c: the weight of errors.
    """

    blur: float
    strain_weight: float
    gamma: float
    c: float


CANDIDATES = tuple(
    Candidate(blur, strain, narrowness, c)
    for blur, strain, (narrowness, c) in itertools.product(
        (1.0, 1.5), (1.0, 3.0), ((0.4, 10.0), (1.4, 3.0))
    )
)


def normalise(images: np.ndarray, blur: float, strain_weight: float) -> np.ndarray:
    """Images of flow with their zero and scale.

    Args:
      images: `[n, s, s, 3]`, u, v and strain, each 0..255.
      blur: as of `Candidate`.
      strain_weight: as of `Candidate`.

    Returns:
      float64, the same shape. Each image is a function of itself alone.
    """
    values = images / 255
    flow = values[..., :2] - np.median(values[..., :2], axis=(1, 2), keepdims=True)
    smooth = gaussian_filter(np.concatenate([flow, values[..., 2:]], axis=-1), (0, blur, blur, 0))
    size = np.sqrt(np.mean(smooth[..., :2] ** 2, axis=(1, 2), keepdims=True)) + _MIN_RMS
    return np.concatenate([smooth[..., :2] / size, strain_weight * smooth[..., 2:]], axis=-1)


def kernel(images: np.ndarray, gamma: float) -> np.ndarray:
    """`[n, n]`, the mean over mirror images of the Gaussian kernel of normalised images."""
    mirrored = images[:, :, ::-1] * np.array([-1, 1, 1])
    one, other = (values.reshape(len(images), -1) for values in (images, mirrored))
    square = np.sum(one**2, axis=1)
    distances = [square[:, None] + square - 2 * one @ each.T for each in (one, other)]
    return np.mean([np.exp(-gamma * d / one.shape[1]) for d in distances], axis=0)


class MirrorSVM:
    """Answers a fold's test clips.

    Args:
      images: `[n, s, s, 3]` of all clips.
      labels: `[n]`.
      classes: how many.
      groups: 'dataset/subject' of every clip.
      seed: of the inner split.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: int,
        groups: Sequence[str],
        seed: int,
    ):
        self._labels, self._classes = labels, classes
        self._groups, self._seed = np.asarray(groups), seed
        self._kernels = [
            kernel(normalise(images, each.blur, each.strain_weight), each.gamma)
            for each in CANDIDATES
        ]

    def __call__(self, fold: Fold) -> tuple[np.ndarray, float]:
        """Probabilities `[test, classes]` and the share of training clips answered wrongly.

        The probabilities are a softmax of the mean decisions: their order is meant, not their size.
        """
        chosen = self.choose(fold)
        decisions, again = (
            np.mean([self._decide(which, fold.train, clips) for which in chosen], axis=0)
            for clips in (fold.test, fold.train)
        )
        error = np.mean(again.argmax(axis=1) != self._labels[fold.train])
        return softmax(decisions, axis=1), float(error)

    def choose(self, fold: Fold) -> list[int]:
        """The better half of `CANDIDATES`, by UF1 on an inner split of the training subjects."""
        inner = folding.k_fold(self._groups[fold.train].tolist(), INNER_FOLDS, self._seed)
        scores = [self._score(which, fold.train, inner) for which in range(len(CANDIDATES))]
        return sorted(range(len(CANDIDATES)), key=lambda which: -scores[which])[:NUM_CHOSEN]

    def _score(self, index: int, clips: np.ndarray, inner_folds: Sequence[Fold]) -> float:
        answers = np.zeros(len(clips), int)
        for part in inner_folds:
            decisions = self._decide(index, clips[part.train], clips[part.test])
            answers[part.test] = decisions.argmax(axis=1)
        counts = metrics.confusion(self._labels[clips], answers, self._classes)
        return float(metrics.summary(counts)["f1_macro"])

    def _decide(self, index: int, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Decisions of one against the rest, `[test, classes]`."""
        gram = self._kernels[index]
        machine = SVC(kernel="precomputed", C=CANDIDATES[index].c, class_weight="balanced")
        machine.fit(gram[np.ix_(train, train)], self._labels[train])
        decisions = machine.decision_function(gram[np.ix_(test, train)])
        if decisions.ndim == 1:  # of two classes that of the second alone
            decisions = np.stack([-decisions, decisions], axis=1)
        answers = np.full((len(test), self._classes), -np.inf)
        answers[:, machine.classes_] = decisions
        return answers
