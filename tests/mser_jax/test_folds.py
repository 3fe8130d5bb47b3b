import dataclasses

import numpy as np
import pytest

from mser_jax.folds import (
    EMPTY,
    Fold,
    check_no_leak,
    epoch_schedule,
    leave_one_sample_out,
    loso,
    steps_per_epoch,
)

GROUPS = ["b/2", "a/1", "a/1", "b/2", "a/2", "a/1", "b/1", "a/2", "b/2", "b/2", "b/2"]
VARIANTS = 3
MODES = ("expand", "sample", "none")


def scheduled(folds, mode="expand", epoch=0, seed=0, batch_size=4):
    return epoch_schedule(
        folds, epoch=epoch, seed=seed, batch_size=batch_size, variants=VARIANTS, mode=mode
    )


def entries(rows):
    return rows[rows != EMPTY]


def test_loso_leaves_each_subject_of_each_database_out_once():
    folds = loso(GROUPS)
    assert [fold.name for fold in folds] == ["a/1", "a/2", "b/1", "b/2"]  # a/1 is not b/1
    for fold in folds:
        assert {GROUPS[clip] for clip in fold.test} == {fold.name}
        assert fold.name not in {GROUPS[clip] for clip in fold.train}
        assert sorted([*fold.train, *fold.test]) == list(range(len(GROUPS)))
    check_no_leak(folds, GROUPS)


def test_leave_one_sample_out_leaks_the_subject_and_the_check_says_so():
    names = [f"{group}/{number}" for number, group in enumerate(GROUPS)]
    folds = leave_one_sample_out(names)
    assert [fold.name for fold in folds] == names
    assert [list(fold.test) for fold in folds] == [[clip] for clip in range(len(names))]
    assert all(len(fold.train) == len(names) - 1 for fold in folds)
    check_no_leak(folds, names)
    with pytest.raises(ValueError, match=r"'b/2/0' trains on subjects that it tests: .*b/2"):
        check_no_leak(folds, GROUPS)


@pytest.mark.parametrize("spoil", ["shared clip", "untested clip", "clip tested twice"])
def test_bad_folds_are_refused(spoil):
    folds = loso(GROUPS)
    first = folds[0]
    if spoil == "shared clip":
        train = np.append(first.train, first.test[0])
        folds[0] = dataclasses.replace(first, train=train)
    elif spoil == "untested clip":
        folds[0] = dataclasses.replace(first, test=first.test[1:])
    else:
        folds.append(Fold("again", first.train, first.test))
    with pytest.raises(ValueError, match="trains on" if spoil == "shared clip" else "exactly once"):
        check_no_leak(folds, GROUPS)


@pytest.mark.parametrize("mode", MODES)
def test_an_epoch_holds_every_training_example_once_and_no_test_clip(mode):
    folds = loso(GROUPS)
    for epoch in range(3):
        schedule = scheduled(folds, mode, epoch)
        assert schedule.dtype == np.int32
        assert schedule.shape == (4, steps_per_epoch(folds, 4, VARIANTS, mode), 4)
        for fold, rows in zip(folds, schedule, strict=True):
            clip, variant = np.divmod(entries(rows), VARIANTS)
            assert not np.isin(clip, fold.test).any()
            repeats = VARIANTS if mode == "expand" else 1
            assert sorted(clip) == sorted(np.repeat(fold.train, repeats))
            if mode == "expand":
                assert len(np.unique(entries(rows))) == entries(rows).size
            if mode == "none":
                assert not variant.any()


def test_sampled_variants_are_of_every_kind_and_change_from_epoch_to_epoch():
    folds = loso(GROUPS)[:1]
    drawn = [np.sort(entries(scheduled(folds, "sample", epoch))) for epoch in range(20)]
    assert {int(entry) % VARIANTS for epoch in drawn for entry in epoch} == {0, 1, 2}
    assert len({tuple(epoch) for epoch in drawn}) > 10


@pytest.mark.parametrize("batch_size", [1, 3, 4, 5, 100])
def test_batches_differ_by_at_most_one_and_empty_steps_come_last(batch_size):
    for fold_rows in scheduled(loso(GROUPS), batch_size=batch_size):
        filled = (fold_rows != EMPTY).sum(axis=1)
        steps = int((filled > 0).sum())
        assert filled[:steps].min() >= filled[:steps].max() - 1
        assert not filled[steps:].any()
        for row, count in zip(fold_rows, filled):
            assert (row[:count] >= 0).all()
            assert (row[count:] == EMPTY).all()


def test_order_comes_from_seed_name_and_epoch_alone():
    folds = loso(GROUPS)
    schedule = scheduled(folds)
    backwards = scheduled(folds[::-1])[::-1]
    np.testing.assert_array_equal(schedule, backwards)
    for slot, fold in enumerate(folds):
        alone = scheduled([fold])[0]
        np.testing.assert_array_equal(alone, schedule[slot, : len(alone)])
        assert (schedule[slot, len(alone) :] == EMPTY).all()
    assert not np.array_equal(schedule, scheduled(folds, epoch=1))
    assert not np.array_equal(schedule, scheduled(folds, seed=1))
    np.testing.assert_array_equal(schedule, scheduled(folds))
    renamed = [dataclasses.replace(folds[0], name="a/9")]
    assert not np.array_equal(scheduled(renamed), scheduled(folds[:1]))
