"""SVM on flow images that knows their zero, scale and mirror symmetry; our own, for few clips.

What is known about a flow image is built in rather than learned from 442 of them:

- Most of a face does not move. The median of u, and of v, is therefore the value of zero flow,
  which stretching the channels to 0..255 has shifted. Stretching also loses the length of the
  flow, so u and v are divided by their root mean square.
- An expression stays the same in a mirror. The kernel is the mean over an image and its mirror
  image (u negated), so both get the same answer (Haasdonk and Burkhardt 2007, "Invariant kernel
  functions for pattern analysis and machine learning", transformation integration kernels).
- Faces are aligned to within a pixel or two, so the flow is smoothed with a Gaussian.

The width of the kernel, the smoothing, the weight of the strain and the weight of errors are
chosen for each fold by an inner split of its training subjects. The better half of the candidates
answers together.
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
NUM_CHOSEN = 4  # candidates that answer together
_MIN_RMS = 1e-3  # added to the root mean square, so that images without movement stay finite


class Candidate(NamedTuple):
    """Settings that the inner split chooses from.

    Attributes:
      blur: Sigma of the Gaussian, px.
      strain_weight: Factor of the strain; u and v have none, since their root mean square is 1.
      gamma: g of the kernel exp(-g d), where d is the mean squared difference of two images.
      c: Weight of errors.
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
    """Normalise the zero and the scale of flow images, and smooth them.

    Args:
      images: u, v and strain, each 0..255, `[n, s, s, 3]`.
      blur: As in `Candidate`.
      strain_weight: As in `Candidate`.

    Returns:
      float64 of the same shape. Each image depends on itself alone.
    """
    values = images / 255
    flow = values[..., :2] - np.median(values[..., :2], axis=(1, 2), keepdims=True)
    smooth = gaussian_filter(np.concatenate([flow, values[..., 2:]], axis=-1), (0, blur, blur, 0))
    rms = np.sqrt(np.mean(smooth[..., :2] ** 2, axis=(1, 2), keepdims=True)) + _MIN_RMS
    return np.concatenate([smooth[..., :2] / rms, strain_weight * smooth[..., 2:]], axis=-1)


def kernel(images: np.ndarray, gamma: float) -> np.ndarray:
    """Compute the Gaussian kernel, averaged over mirror images.

    Args:
      images: Images from `normalise`, `[n, s, s, 3]`.
      gamma: As in `Candidate`.

    Returns:
      Kernel of every pair of images, `[n, n]`.
    """
    mirror_images = images[:, :, ::-1] * np.array([-1, 1, 1])
    original, mirrored = (values.reshape(len(images), -1) for values in (images, mirror_images))
    square = np.sum(original**2, axis=1)
    distances = [
        square[:, None] + square - 2 * original @ values.T for values in (original, mirrored)
    ]
    return np.mean([np.exp(-gamma * d / original.shape[1]) for d in distances], axis=0)


class MirrorSVM:
    """SVM that is fitted to a fold's training clips and classifies its test clips.

    Args:
      images: Images of all clips, `[n, s, s, 3]`.
      labels: Classes of all clips, `[n]`.
      classes: Number of classes.
      groups: 'dataset/subject' of every clip.
      seed: Seed of the inner split.
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
            kernel(normalise(images, candidate.blur, candidate.strain_weight), candidate.gamma)
            for candidate in CANDIDATES
        ]

    def __call__(self, fold: Fold) -> tuple[np.ndarray, float]:
        """Classify the test clips of a fold.

        The probabilities are a softmax of the mean decisions: their order has a meaning, their size
        has none.

        Args:
          fold: Training and test clips.

        Returns:
          Probabilities `[test, classes]`, and the share of training clips answered wrongly.
        """
        chosen = self.choose(fold)
        test_decisions, train_decisions = (
            np.mean([self._decide(index, fold.train, clips) for index in chosen], axis=0)
            for clips in (fold.test, fold.train)
        )
        error = np.mean(train_decisions.argmax(axis=1) != self._labels[fold.train])
        return softmax(test_decisions, axis=1), float(error)

    def choose(self, fold: Fold) -> list[int]:
        """Choose the better half of `CANDIDATES` for a fold.

        They are ranked by macro F1 on an inner split of the training subjects.

        Args:
          fold: Fold whose training clips are split.

        Returns:
          Indices into `CANDIDATES`, the best first.
        """
        inner_folds = folding.k_fold(self._groups[fold.train].tolist(), INNER_FOLDS, self._seed)
        scores = [self._score(index, fold.train, inner_folds) for index in range(len(CANDIDATES))]
        return sorted(range(len(CANDIDATES)), key=lambda index: -scores[index])[:NUM_CHOSEN]

    def _score(self, index: int, clips: np.ndarray, inner_folds: Sequence[Fold]) -> float:
        answers = np.zeros(len(clips), int)
        for fold in inner_folds:
            decisions = self._decide(index, clips[fold.train], clips[fold.test])
            answers[fold.test] = decisions.argmax(axis=1)
        counts = metrics.confusion(self._labels[clips], answers, self._classes)
        return float(metrics.summary(counts)["f1_macro"])

    def _decide(self, index: int, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Return the one-versus-rest decisions, `[test, classes]`."""
        gram = self._kernels[index]
        svm = SVC(kernel="precomputed", C=CANDIDATES[index].c, class_weight="balanced")
        svm.fit(gram[np.ix_(train, train)], self._labels[train])
        decisions = svm.decision_function(gram[np.ix_(test, train)])
        if decisions.ndim == 1:  # for two classes, SVC returns the second's only
            decisions = np.stack([-decisions, decisions], axis=1)
        answers = np.full((len(test), self._classes), -np.inf)
        answers[:, svm.classes_] = decisions
        return answers
