"""Nothing of a tested subject reaches the training of its own fold."""

import functools

import numpy as np
import pytest

from helpers.toy import (
    FOLDS,
    LIFTS,
    assert_same_bits,
    differ,
    fold_of,
    predicted,
    program,
    rows_of,
    small,
    toy,
    trained,
    trainer,
)
from helpers.toy_clips import DATASET, GROUPS, VARIANTS, made_clips
from mser_jax.data.augment import Clips

CLIP = 0  # what an empty step is computed with; its subject is tested by fold 0
ITS_FOLD = next(slot for slot, fold in enumerate(FOLDS) if CLIP in fold.test)


def with_another_clip(clips: Clips) -> Clips:
    """The same clips but for the pixels and the label of one."""
    pixels, labels = clips.pixels.copy(), clips.labels.copy()
    pixels[CLIP] = 5 - pixels[CLIP]
    labels[CLIP] = (labels[CLIP] + 1) % 3
    return clips._replace(pixels=pixels, labels=labels)


def assert_only_its_own_fold_is_the_same(one, other):
    assert_same_bits(fold_of(one, ITS_FOLD), fold_of(other, ITS_FOLD))
    for slot in range(len(FOLDS)):
        assert slot == ITS_FOLD or differ(fold_of(one, slot), fold_of(other, slot))


@pytest.mark.parametrize("lift", LIFTS)
@pytest.mark.parametrize("network", ["toy", "paper"])
def test_a_tested_clip_changes_no_bit_of_the_training_of_its_fold(network, lift):
    made = toy(4, lift) if network == "toy" else small(lift)[0]
    clips = made_clips(side=16 if network == "toy" else 24)
    states, seen = trained(made, clips)
    other_states, other_seen = trained(made, with_another_clip(clips))
    assert_only_its_own_fold_is_the_same(states, other_states)
    assert_only_its_own_fold_is_the_same(seen, other_seen)


@functools.cache
def of_all_folds():
    return predicted(toy(4), made_clips())


def test_a_tested_clip_changes_its_probabilities_and_not_the_training_loss_beside_them():
    clips, probabilities, loss = rows_of(of_all_folds(), FOLDS[ITS_FOLD].name)
    changed = predicted(toy(4), with_another_clip(made_clips()))
    _, other_probabilities, other_loss = rows_of(changed, FOLDS[ITS_FOLD].name)
    np.testing.assert_array_equal(other_loss, loss)
    row = clips.index(DATASET.clip[CLIP])
    assert not np.array_equal(other_probabilities[row], probabilities[row])
    others = [at for at in range(len(clips)) if at != row]
    assert others
    np.testing.assert_array_equal(other_probabilities[others], probabilities[others])


@pytest.mark.parametrize("order", [(3, 0, 4), (4, 0)])
def test_a_folds_predictions_do_not_depend_on_the_folds_beside_it(order):
    folds = [FOLDS[slot] for slot in order]
    found = predicted(program(trainer(folds, devices=2)), made_clips())
    for fold in folds:
        clips, *figures = rows_of(found, fold.name)
        expected_clips, *expected = rows_of(of_all_folds(), fold.name)
        assert clips == expected_clips
        assert_same_bits(figures, expected)


@pytest.mark.parametrize("mode", ["expand", "sample", "none"])
def test_no_schedule_holds_a_clip_of_the_tested_subject(mode):
    of = trainer(devices=4, augment=mode, batch_size=5)  # so that slots are empty
    subjects = np.array(GROUPS)
    for epoch in range(5):
        schedule = of.schedule(epoch)
        assert not schedule.mask[len(FOLDS) :].any()
        for slot, fold in enumerate(FOLDS):
            clips = schedule.clip[slot][schedule.mask[slot]]
            # Not even under an empty slot, whose clip the network sees as well.
            assert fold.name not in subjects[schedule.clip[slot][schedule.mask[slot].any(axis=1)]]
            assert fold.name not in subjects[clips]
            times = len(VARIANTS) if mode == "expand" else 1
            expected = np.repeat(np.flatnonzero(subjects != fold.name), times)
            np.testing.assert_array_equal(np.sort(clips), expected)
