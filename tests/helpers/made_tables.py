"""Tables of predictions made by hand, also with folds that failed."""

import dataclasses

import numpy as np

from mser_jax.evaluate.predictions import Predictions


def made(label, answer, *, subject=None, dataset=None, seed=None, classes=3):
    """A table with one head that gives `answer` all of its probability."""
    label, answer = np.array(label), np.array(answer)
    rows = len(label)
    subject = np.array(["s1"] * rows if subject is None else subject)
    dataset = np.array(["made"] * rows if dataset is None else dataset)
    seed = np.zeros(rows, int) if seed is None else np.array(seed)
    clip = [f"{np.sum(seed[:row] == seed[row])}" for row in range(rows)]
    return Predictions(
        dataset=dataset,
        subject=subject,
        clip=np.array(clip),
        seed=seed,
        fold=np.array([f"{a}/{b}" for a, b in zip(dataset, subject)]),
        label=label,
        probabilities=np.eye(classes, dtype=np.float32)[answer][:, None],
        train_loss=np.zeros((rows, 1), np.float32),
        class_names=tuple("abcdefg"[:classes]),
    )


def fail(whole, failed):
    """The table with these rows failed."""
    probabilities, loss = whole.probabilities.copy(), whole.train_loss.copy()
    probabilities[failed], loss[failed] = np.nan, np.nan
    return dataclasses.replace(whole, probabilities=probabilities, train_loss=loss)
