import dataclasses
import itertools

import numpy as np
import pytest

from helpers.packed import EMPTY, packed
from mser_jax.data.folds import (
    Fold,
    check_no_leak,
    k_fold,
    leave_databases_out,
    leave_one_sample_out,
    loso,
    replicate,
)
from mser_jax.data.schedule import batch_slots, epoch_schedule, steps_per_epoch

GROUPS = ["b/2", "a/1", "a/1", "b/2", "a/2", "a/1", "b/1", "a/2", "b/2", "b/2", "b/2"]
DATABASES = [group[0] for group in GROUPS]
EVERY = np.arange(len(GROUPS))
VARIANTS = 3
MODES = ("expand", "sample", "none")


def scheduled(folds, mode="expand", epoch=0, seed=0, batch_size=4, more=0):
    made = epoch_schedule(
        replicate(folds, [seed]),
        epoch=epoch,
        batch_size=batch_size,
        variants=VARIANTS,
        mode=mode,
        steps=steps_per_epoch(folds, batch_size, VARIANTS, mode) + more,
    )
    return packed(made, VARIANTS)


def entries(rows):
    return rows[rows != EMPTY]


def test_a_longer_schedule_is_the_same_with_empty_steps_after_it():
    short, long = scheduled(loso(GROUPS)), scheduled(loso(GROUPS), more=2)
    np.testing.assert_array_equal(long[:, :-2], short)
    assert (long[:, -2:] == EMPTY).all()


def test_loso_leaves_each_subject_of_each_database_out_once():
    folds = loso(GROUPS)
    assert [fold.name for fold in folds] == ["a/1", "a/2", "b/1", "b/2"]  # a/1 is not b/1
    for fold in folds:
        assert {GROUPS[clip] for clip in fold.test} == {fold.name}
        assert fold.name not in {GROUPS[clip] for clip in fold.train}
        assert sorted([*fold.train, *fold.test]) == list(range(len(GROUPS)))
    check_no_leak(folds, GROUPS, EVERY)


def test_leave_one_sample_out_leaks_the_subject_and_the_check_says_so():
    names = [f"{group}/{number}" for number, group in enumerate(GROUPS)]
    folds = leave_one_sample_out(names)
    assert [fold.name for fold in folds] == names
    assert [list(fold.test) for fold in folds] == [[clip] for clip in range(len(names))]
    assert all(len(fold.train) == len(names) - 1 for fold in folds)
    check_no_leak(folds, names, EVERY)
    with pytest.raises(ValueError, match=r"'b/2/0' trains on what it tests: b/2"):
        check_no_leak(folds, GROUPS, EVERY)


def people(sizes):
    """The groups of people with so many clips each, their clips mixed."""
    groups = np.repeat([f"d/{number:02d}" for number in range(len(sizes))], sizes)
    return np.random.default_rng(0).permutation(groups).tolist()


def division(folds, groups):
    """The set of groups that each fold tests."""
    return [frozenset(groups[clip] for clip in fold.test) for fold in folds]


@pytest.mark.parametrize("parts", [2, 3, 5, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_k_fold_divides_whole_subjects_into_parts_of_about_as_many_clips(parts, seed):
    groups = people([9, 8, 8, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1, 1])
    folds = k_fold(groups, parts, seed)
    assert [fold.name for fold in folds] == [f"k_fold/{part}" for part in range(parts)]
    divided = division(folds, groups)
    assert all(not one & other for one, other in itertools.combinations(divided, 2))
    assert frozenset.union(*divided) == set(groups)
    clips = [len(fold.test) for fold in folds]
    assert max(clips) - min(clips) <= (1 if parts < 10 else 4)  # the largest subject alone has 9
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(len(groups)))
    check_no_leak(folds, groups, np.arange(len(groups)))


def test_k_fold_depends_on_the_seed_and_the_subjects_and_on_nothing_else():
    groups = people([4] * 12)
    first = division(k_fold(groups, 4, seed=7), groups)
    assert division(k_fold(groups[::-1], 4, seed=7), groups[::-1]) == first
    drawn = [set(division(k_fold(groups, 4, seed), groups)) for seed in range(5)]
    assert not any(one == other for one, other in itertools.combinations(drawn, 2))
    # Written down, so that another version of a library cannot change it unseen.
    assert sorted(first[0]) == ["d/06", "d/09", "d/11"]


def test_with_as_many_parts_as_subjects_k_fold_leaves_each_subject_out():
    folds = k_fold(GROUPS, 4, seed=0)
    assert set(division(folds, GROUPS)) == set(division(loso(GROUPS), GROUPS))


def test_a_database_that_is_left_out_is_tested_by_all_others():
    folds = leave_databases_out(DATABASES, ["a", "b"])
    assert [fold.name for fold in folds] == ["database/a", "database/b"]
    for fold in folds:
        assert {DATABASES[clip] for clip in fold.test} == {fold.name[-1]}
        assert fold.name[-1] not in {DATABASES[clip] for clip in fold.train}
    check_no_leak(folds, DATABASES, EVERY)
    held_out = leave_databases_out(DATABASES, ["b"])
    check_no_leak(held_out, DATABASES, np.flatnonzero(np.array(DATABASES) == "b"))
    with pytest.raises(ValueError, match="exactly once"):
        check_no_leak(held_out, DATABASES, EVERY)


def test_a_fold_on_both_sides_of_a_database_leaks_the_database_and_not_the_subject():
    folds = loso(GROUPS)
    with pytest.raises(ValueError, match=r"'a/1' trains on what it tests: a$"):
        check_no_leak(folds, DATABASES, EVERY)


def test_a_fold_without_a_training_is_refused():
    with pytest.raises(ValueError, match="'database/a' has nothing to train on"):
        check_no_leak(leave_databases_out(["a", "a"], ["a"]), ["a", "a"], np.arange(2))


@pytest.mark.parametrize("make", [loso, lambda groups: k_fold(groups, 3, 0)])
@pytest.mark.parametrize("spoil", ["shared clip", "untested clip", "clip tested twice"])
def test_bad_folds_are_refused(spoil, make):
    folds = make(GROUPS)
    first = folds[0]
    if spoil == "shared clip":
        train = np.append(first.train, first.test[0])
        folds[0] = dataclasses.replace(first, train=train)
    elif spoil == "untested clip":
        folds[0] = dataclasses.replace(first, test=first.test[1:])
    else:
        folds.append(Fold("again", first.train, first.test))
    with pytest.raises(ValueError, match="trains on" if spoil == "shared clip" else "exactly once"):
        check_no_leak(folds, GROUPS, EVERY)


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


@pytest.mark.parametrize(("clips", "steps"), [(1, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_an_epoch_has_the_steps_that_the_longest_fold_fills_and_no_more(clips, steps):
    folds = [Fold("a", np.arange(clips), np.arange(0)), Fold("b", np.arange(1), np.arange(0))]
    assert steps_per_epoch(folds, 4, 1, "none") == steps


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_slot_repeats_the_first_clip_of_its_batch(mode):
    folds = [fold for fold in loso(GROUPS) if 0 in fold.test]  # an array begins with zeros
    order = {"epoch": 0, "batch_size": 4, "variants": VARIANTS, "mode": mode}
    steps = steps_per_epoch(folds, 4, VARIANTS, mode)
    made = epoch_schedule(folds, **order, steps=steps, slots=6)
    assert not made.mask.all(axis=-1).any()
    for clip, variant, mask in zip(made.clip[0], made.variant[0], made.mask[0], strict=True):
        assert mask[0]
        assert set(clip[~mask]) == {clip[0]}
        assert set(variant[~mask]) == {variant[0]}


@pytest.mark.parametrize(
    ("clips", "batch_size", "slots"), [(435, 256, 224), (440, 256, 224), (256, 256, 256), (9, 8, 8)]
)
def test_batches_have_the_slots_that_the_largest_fills(clips, batch_size, slots):
    folds = [Fold("a", np.arange(clips), np.arange(0)), Fold("b", np.arange(3), np.arange(0))]
    assert batch_slots(folds, batch_size, 1, "none") == slots
    steps = steps_per_epoch(folds, batch_size, 1, "none")
    order = {"epoch": 0, "batch_size": batch_size, "variants": 1, "mode": "none", "steps": steps}
    wide, narrow = (
        packed(epoch_schedule(folds, **order, slots=count), 1) for count in (None, slots)
    )
    np.testing.assert_array_equal(wide[..., :slots], narrow)
    assert (wide[..., slots:] == EMPTY).all()


def test_a_replicate_is_the_fold_with_another_seed_and_title():
    folds = loso(GROUPS)[:2]
    made = replicate(folds, [3, 4])
    assert [fold.title for fold in made] == [
        f"{name}, seed {seed}" for seed in (3, 4) for name in ("a/1", "a/2")
    ]
    for fold, again in zip(made, folds * 2, strict=True):
        assert (fold.name, fold.key, fold.train, fold.test) == (
            *(again.name, again.key, again.train, again.test),
        )


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
