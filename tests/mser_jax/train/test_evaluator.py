"""The held-out predictions: who is seen by whom, and what is said of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.toy import FOLDS, SEED, TOY, fold_of, toy
from helpers.toy_clips import CLIPS, DATASET, GROUPS, SUBJECTS
from mser_jax import parallel
from mser_jax.data.feed import Resident
from mser_jax.experiments import held_out as evaluate
from mser_jax.train.evaluator import Evaluator


@functools.cache
def logits(batch_size: int, devices=2) -> np.ndarray:
    """Of every fold of untrained toys, whose weights differ, on devices with a dummy fold."""
    made = toy(devices)
    of = dataclasses.replace(
        made.trainer, settings=dataclasses.replace(made.trainer.settings, batch_size=batch_size)
    )
    answers = Evaluator(of, Resident(CLIPS, of.mesh))
    return answers.logits(parallel.shard(made.start, of.mesh), len(SUBJECTS))


def table(of_logits=None):
    of_logits = logits(3) if of_logits is None else of_logits
    return evaluate.predictions_from_logits(toy(2).trainer.folds, of_logits, DATASET)


def log_softmax(values):
    values = values.astype(np.float64)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("slot", range(len(FOLDS)))
def test_every_fold_says_of_every_clip_what_its_network_says(slot):
    state, every = fold_of(toy(2).start, slot), jnp.arange(len(SUBJECTS))
    inputs = toy(2).trainer.view(jax.device_put(CLIPS), every, jnp.zeros_like(every))
    expected, _ = TOY.apply(state.params, state.batch_stats, inputs, None, False)
    np.testing.assert_allclose(logits(3)[slot], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(logits(3)[slot], logits(3)[slot - 1], atol=1e-2)


def test_the_size_of_the_batch_does_not_matter():
    assert len(SUBJECTS) % 3  # so that a batch of either size has empty slots
    assert len(SUBJECTS) % 8
    assert logits(3).shape == (len(FOLDS), len(SUBJECTS), 2, 3)
    np.testing.assert_allclose(logits(3), logits(8), rtol=1e-5, atol=1e-6)


def test_each_clip_has_one_row_from_the_fold_that_its_subject_names():
    rows = table()
    names = [f"{d}/{s}/{c}" for d, s, c in zip(rows.dataset, rows.subject, rows.clip)]
    assert sorted(names) == sorted(DATASET.names)
    assert [f"{d}/{s}" for d, s in zip(rows.dataset, rows.subject)] == rows.fold.tolist()
    assert set(rows.seed) == {SEED}
    assert rows.class_names == DATASET.class_names


def test_a_row_holds_its_own_clips_label_and_its_own_folds_probabilities():
    rows, names = table(), sorted(set(GROUPS))
    for row in range(len(rows)):
        clip = DATASET.clip.tolist().index(rows.clip[row])
        assert rows.label[row] == CLIPS.labels[clip]
        expected = np.exp(log_softmax(logits(3)[names.index(GROUPS[clip]), clip]))
        np.testing.assert_allclose(rows.probabilities[row], expected, rtol=1e-5)
    np.testing.assert_allclose(rows.probabilities.sum(axis=-1), 1, rtol=1e-6)


def test_the_training_loss_is_that_of_the_clips_of_all_other_subjects():
    rows, names = table(), sorted(set(GROUPS))
    for row in range(len(rows)):
        told = log_softmax(logits(3)[names.index(rows.fold[row])])
        losses = [
            -told[clip, :, CLIPS.labels[clip]]
            for clip, subject in enumerate(SUBJECTS)
            if subject != rows.subject[row]
        ]
        np.testing.assert_allclose(rows.train_loss[row], np.mean(losses, axis=0), rtol=1e-5)


def test_what_a_fold_says_of_its_test_clips_is_what_it_says_of_them_among_all():
    made = toy(2)
    answers = Evaluator(made.trainer, Resident(CLIPS, made.trainer.mesh))
    held_out = answers.held_out_logits(parallel.shard(made.start, made.trainer.mesh))
    for slot, (fold, said) in enumerate(zip(FOLDS, held_out, strict=True)):
        np.testing.assert_allclose(said, logits(3)[slot, fold.test], rtol=1e-5, atol=1e-6)


def test_logits_that_are_not_finite_are_refused():
    broken = logits(3).copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        table(broken)
