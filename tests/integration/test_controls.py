"""Does the smoke preset learn movement, and nothing else? Three trainings of the same length.

The positive control (true labels) must score well above chance. The two negative controls (no
movement; labels permuted) must score inside the 99 % interval of what permuting the labels gives,
on both sides: too low is as suspicious as too high.
"""

import dataclasses

import numpy as np
import pytest

from data_prep.pipeline.prepare import prepare
from mser_jax.config import defaults
from mser_jax.evaluate import selection
from mser_jax.experiments import held_out, run, setup
from mser_jax.storage.log import Log

LEVEL, PERMUTATIONS = 0.99, 10_000
LIMIT = 4_000_000_000  # bytes of a device


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("controls")


def smoke(workspace, *, amplitude=None):
    config = defaults.get_config("synthetic", "smoke")
    config.data.data_dir = str(workspace / "data")
    if amplitude is not None:
        config.synthetic.amplitude = amplitude
    prepared = prepare(config, print_line=lambda line: None)
    return config, run.read_clips(config, prepared, LIMIT)


def held_out_hits(config, dataset, folder):
    """Which clips the smoke preset gets right when their subject is left out; and its margin."""
    folder.mkdir()
    trainer = setup.make_trainer(config, dataset)
    engine = setup.make_engine(config, dataset, trainer, folder, LIMIT)
    options = setup.training_options(config, dataset)
    engine.train(Log(folder / "log.jsonl"), limit=LIMIT, **options)
    table = held_out.predictions_from_logits(trainer.folds, engine.logits(), dataset)
    probabilities, _ = selection.choose(table, config.evaluation.select)
    return table, probabilities.argmax(axis=1)


def permutation_interval(table, answers):
    """The accuracies that chance gives these answers: labels permuted within each subject."""
    rng = np.random.default_rng(0)
    labels = table.label.copy()
    rows = [np.flatnonzero(table.subject == subject) for subject in np.unique(table.subject)]
    scores = np.empty(PERMUTATIONS)
    for permutation in range(PERMUTATIONS):
        for own in rows:
            labels[own] = rng.permutation(table.label[own])
        scores[permutation] = np.mean(labels == answers)
    tail = (1 - LEVEL) / 2
    return np.quantile(scores, [tail, 1 - tail])


def permuted_labels(dataset):
    """The data set with its labels shuffled within each subject."""
    rng = np.random.default_rng(1)
    labels = dataset.clips.labels.copy()
    for subject in np.unique(dataset.subject):
        own = np.flatnonzero(dataset.subject == subject)
        labels[own] = rng.permutation(labels[own])
    return dataclasses.replace(dataset, clips=dataset.clips._replace(labels=labels))


def test_true_labels_are_learned(workspace):
    config, dataset = smoke(workspace)
    table, answers = held_out_hits(config, dataset, workspace / "true")
    _, high = permutation_interval(table, answers)
    assert np.mean(answers == table.label) > high + 0.03


def test_permuted_labels_score_as_chance(workspace):
    config, dataset = smoke(workspace)
    table, answers = held_out_hits(config, permuted_labels(dataset), workspace / "permuted")
    low, high = permutation_interval(table, answers)
    assert low <= np.mean(answers == table.label) <= high


@pytest.mark.slow
def test_clips_without_expression_score_as_chance(workspace):
    config, dataset = smoke(workspace, amplitude=(0.0, 0.0))
    table, answers = held_out_hits(config, dataset, workspace / "still")
    low, high = permutation_interval(table, answers)
    assert low <= np.mean(answers == table.label) <= high
