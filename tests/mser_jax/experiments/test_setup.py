"""The class weights of a fold depend on its own training clips alone."""

import dataclasses

import numpy as np

from helpers.toy import FOLDS
from helpers.toy_clips import CLIPS, DATASET
from mser_jax.experiments import setup


def test_the_class_weights_of_a_fold_come_from_its_training_clips_alone():
    """By hand: a class with `count` of the `n` training clips weighs n / (3 * count)."""
    weights = setup._class_weights("balanced", DATASET, FOLDS)
    assert weights is not None
    for fold, weights_of_fold in zip(FOLDS, weights, strict=True):
        counts = [np.sum(CLIPS.labels[fold.train] == label) for label in range(3)]
        np.testing.assert_allclose(weights_of_fold, len(fold.train) / (3 * np.array(counts)))


def test_the_labels_of_the_tested_clips_change_no_class_weight():
    weights = setup._class_weights("balanced", DATASET, FOLDS)
    assert weights is not None
    for fold, weights_of_fold in zip(FOLDS, weights, strict=True):
        labels = CLIPS.labels.copy()
        labels[fold.test] = (labels[fold.test] + 1) % 3
        relabelled = dataclasses.replace(DATASET, clips=CLIPS._replace(labels=labels))
        same = setup._class_weights("balanced", relabelled, [fold])
        np.testing.assert_array_equal(same, [weights_of_fold])


def test_without_class_weights_there_are_none():
    assert setup._class_weights("none", DATASET, FOLDS) is None
