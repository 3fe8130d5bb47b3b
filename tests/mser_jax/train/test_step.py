"""The epoch of one fold, the loop over epochs, stopping and going on."""

import dataclasses
import functools
import signal

import jax
import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.packed import EMPTY, packed, unpacked
from helpers.toy import (
    FOLDS,
    LIFTS,
    assert_same_bits,
    differ,
    epoch,
    first_step,
    fold_of,
    small,
    toy,
    trained,
)
from helpers.toy_clips import CLIPS, GROUPS, NAMES, VARIANTS, made_clips, with_an_endless_clip
from mser_jax import parallel
from mser_jax.data.augment import Clips
from mser_jax.data.feed import Resident
from mser_jax.storage.checkpoints import Checkpoints
from mser_jax.storage.log import Log
from mser_jax.train import loop
from mser_jax.train.evaluator import Evaluator
from mser_jax.train.loop import train
from mser_jax.train.monitor import Monitor

ONE, STEPS, BATCH = 3, 3, 4  # the fold that is trained alone here, and the shape of its epoch


@functools.cache
def one_fold():
    return toy(only=ONE)


def steps(state, batches, clips: Clips = CLIPS, number=0):
    """The state after some batches `[step, b]` of the one fold, and their `StepMetrics`."""
    schedule = np.full((1, STEPS, BATCH), EMPTY)
    schedule[0, : len(batches)] = batches
    made = unpacked(schedule, len(VARIANTS))
    state, metrics = epoch(one_fold(), state, clips, number, made)
    return state, fold_of(metrics, 0)


def first_batch(of):
    """The first batch of the one fold, as entries."""
    return packed(of.schedule(0), len(VARIANTS))[0, :1]


def test_empty_steps_change_nothing():
    moved, _ = steps(one_fold().start, [[0, 9, 21, 24]])
    assert differ(moved, one_fold().start)
    still, metrics = steps(moved, np.empty((0, BATCH)))
    assert_same_bits(still, moved)
    assert not any(leaf.any() for leaf in metrics)


def test_what_lies_under_an_empty_slot_does_not_matter():
    pixels, labels = CLIPS.pixels.copy(), CLIPS.labels.copy()
    pixels[0], labels[0] = np.nan, 2  # of no batch below
    changed = CLIPS._replace(pixels=pixels, labels=labels)
    batch = [[9, 12, EMPTY, EMPTY]]
    expected = steps(one_fold().start, batch)
    assert_same_bits(steps(one_fold().start, batch, changed), expected)
    assert expected[1].clips == 2


def test_the_totals_of_an_epoch_are_the_sums_over_its_steps():
    batches = [[0, 9, 12, 27], [15, 19, EMPTY, EMPTY], [21, EMPTY, EMPTY, EMPTY]]
    state, alone = one_fold().start, []
    for batch in batches:
        state, metrics = steps(state, [batch])
        alone.append(metrics)
    whole, metrics = steps(one_fold().start, batches)
    assert_same_bits(whole, state)
    for name, values in metrics._asdict().items():
        summed = np.sum([getattr(each, name) for each in alone], axis=0)
        np.testing.assert_allclose(values, summed, rtol=1e-6, err_msg=name)
    assert metrics.clips == 7
    assert metrics.most_confident.sum() == 7
    assert metrics.updates == 3


def test_steps_in_one_call_or_in_several_are_the_same_to_the_bit():
    made, schedule = one_fold(), one_fold().trainer.schedule(0)
    expected = epoch(made, made.start, CLIPS)
    (window,) = Resident(CLIPS, made.trainer.mesh).windows(schedule, 0, STEPS)
    state = parallel.shard(made.start, made.trainer.mesh)
    metrics = made.trainer.zero_metrics()
    for first, stop in ((0, 0), (0, 1), (1, 3)):
        call = made.trainer.step_range(0, first, stop)
        state, metrics = made.run(state, metrics, window.schedule, None, call, window.clips)
    assert_same_bits(jax.device_get((state, metrics)), expected)


def test_the_gradient_norm_of_a_step_is_that_of_its_gradient():
    (grads, _), start = first_step(only=ONE), one_fold().start
    _, metrics = steps(start, first_batch(one_fold().trainer))
    squares = [np.sum(np.square(leaf)) for leaf in jax.tree.leaves(grads)]
    np.testing.assert_allclose(metrics.gradient, np.sqrt(np.sum(squares)), rtol=1e-5)


@pytest.mark.parametrize("lift", LIFTS)
def test_a_fold_that_diverges_stops_there_and_the_others_go_on(lift):
    clip, made = 3, toy(4, lift)
    tested_by = next(slot for slot, fold in enumerate(FOLDS) if clip in fold.test)
    broken, seen = trained(made, with_an_endless_clip(clip))
    fine, expected = trained(made, CLIPS)
    real = slice(0, len(FOLDS))
    for slot, failed in enumerate(broken.failed[real]):
        if slot == tested_by:  # only this one never sees the clip
            assert_same_bits(fold_of((broken, seen), slot), fold_of((fine, expected), slot))
            assert failed.tolist() == [-1, -1]
            continue
        number, step = failed
        assert number == 0
        schedule = made.trainer.schedule(0)
        assert clip in schedule.clip[slot, step][schedule.mask[slot, step]]
        assert seen[0].updates[slot] == step
        assert not any(leaf[slot].any() for leaf in seen[1])
    assert (broken.failed[real, 0] < 0).sum() == 1


@pytest.mark.slow
def test_the_papers_network_learns_noise_by_heart_also_by_its_running_statistics():
    """Five folds of seven to nine clips of random flow, with random labels."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(size=(len(GROUPS), 3, 24, 24, 2)).astype(np.float16)
    labels = rng.integers(0, 3, len(GROUPS)).astype(np.int32)
    clips = Clips(pixels, np.ones(len(GROUPS), np.float32), labels)
    of = small("map")[0].trainer
    state, seen = trained(small("map")[0], clips, epochs=150)  # the running statistics lag behind
    accuracy = np.array([(each.correct / each.clips)[: len(FOLDS)] for each in seen])
    assert accuracy[0].mean() < 0.7
    np.testing.assert_array_equal(accuracy[-3:], 1)
    answers = Evaluator(of, Resident(clips, of.mesh))  # in evaluation mode
    logits = answers.logits(parallel.shard(state, of.mesh), len(labels))
    answers = jax.nn.softmax(logits).mean(axis=2).argmax(axis=-1)
    for fold, said in zip(FOLDS, answers, strict=True):
        np.testing.assert_array_equal(said[fold.train], labels[fold.train])


def test_the_papers_network_is_left_alone_by_steps_without_a_clip():
    made, dummies = small("map")[0], slice(len(FOLDS), None)
    state, _ = trained(made, made_clips(side=24), epochs=1)
    assert_same_bits(fold_of(state, dummies), fold_of(made.start, dummies))
    assert differ(fold_of(state, 0), fold_of(made.start, 0))


class StopsAfter(Log):
    """Asks the run to stop while it logs an epoch."""

    def __init__(self, path, epoch: int, number: int):
        super().__init__(path)
        self.epoch, self.number = epoch, number

    def write(self, event, **fields):
        super().write(event, **fields)
        if fields["epoch"] == self.epoch:
            signal.raise_signal(self.number)


def checkpoints(folder) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", [fold.title for fold in FOLDS], "made")


def whole_run(folder, epochs=4, log=None, clips=CLIPS):
    """The states after a run of the toy's folds on four devices, from where it was left."""
    of = toy(4).trainer
    of = dataclasses.replace(of, settings=dataclasses.replace(of.settings, epochs=epochs))
    monitor = Monitor(log or Log(folder / "log.jsonl"), of, NAMES)
    feed = Resident(clips, of.mesh)
    return jax.device_get(train(of, toy(4).run, feed, checkpoints(folder), monitor))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return whole_run(folder), Log(folder / "log.jsonl").read()


def without_times(events):
    measured = ("seconds", "seconds_left", "clips_per_second", "fraction_of_peak")
    return [
        {name: value for name, value in event.items() if name not in measured} for event in events
    ]


def test_the_loop_trains_as_the_epochs_say_and_logs_each(uninterrupted):
    state, events = uninterrupted
    expected, seen = trained(toy(4), CLIPS, epochs=4)
    assert_same_bits(state, expected)
    assert [event["epoch"] for event in events] == [1, 2, 3, 4]
    folds = len(FOLDS)
    for event, metrics in zip(events, seen, strict=True):
        metrics = fold_of(metrics, slice(0, folds))
        fold_loss = metrics.losses.sum(axis=1) / metrics.clips
        np.testing.assert_allclose(event["fold_loss"], fold_loss, rtol=1e-6)
        np.testing.assert_allclose(event["loss"], fold_loss.mean(), rtol=1e-6)
        np.testing.assert_allclose(event["fold_accuracy"], metrics.correct / metrics.clips)
        np.testing.assert_allclose(event["accuracy"], np.mean(event["fold_accuracy"]), rtol=1e-6)
        norms = metrics.gradient / metrics.updates
        np.testing.assert_allclose(event["fold_gradient_norm"], norms, rtol=1e-6)
        choice = metrics.most_confident.sum(axis=0) / metrics.clips.sum()
        np.testing.assert_allclose(event["head_choice"], choice, rtol=1e-6)
        assert event["learning_rate"] == 1e-2
        clips = sum(len(fold.train) for fold in FOLDS)
        assert event["clips_per_second"] * event["seconds"] == pytest.approx(clips)
        assert event["fraction_of_peak"] is None
    assert events[-1]["seconds_left"] == 0
    assert events[0]["seconds_left"] == pytest.approx(3 * events[0]["seconds"])


def test_a_longer_run_goes_on_from_the_checkpoint_to_the_same_bits(uninterrupted, tmp_path):
    whole_run(tmp_path, epochs=2)
    assert checkpoints(tmp_path).position() == 2 * STEPS
    assert_same_bits(whole_run(tmp_path), uninterrupted[0])
    events = Log(tmp_path / "log.jsonl").read()
    assert without_times(events) == without_times(uninterrupted[1])


def test_a_finished_run_is_returned_and_not_trained_again(uninterrupted, tmp_path):
    whole_run(tmp_path)
    before = (tmp_path / "log.jsonl").read_bytes()
    assert_same_bits(whole_run(tmp_path), uninterrupted[0])
    assert (tmp_path / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_has_saved_its_epoch_and_goes_on_to_the_same_bits(
    number, uninterrupted, tmp_path, capsys
):
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        whole_run(tmp_path, log=StopsAfter(tmp_path / "log.jsonl", 3, number))
    assert signal.getsignal(number) is handler
    assert "Stopping after the current steps" in capsys.readouterr().err
    assert checkpoints(tmp_path).position() == 3 * STEPS
    assert_same_bits(whole_run(tmp_path), uninterrupted[0])
    events = Log(tmp_path / "log.jsonl").read()
    assert without_times(events) == without_times(uninterrupted[1])


def test_a_run_that_is_stopped_within_an_epoch_goes_on_within_it(
    uninterrupted, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "SECONDS", 0.0)  # a step a call
    made, calls = toy(4), []

    def stops(*arguments):
        calls.append(arguments)
        if len(calls) == STEPS + 1:
            signal.raise_signal(signal.SIGINT)
        return made.run(*arguments)

    of = made.trainer
    monitor = Monitor(Log(tmp_path / "log.jsonl"), of, NAMES)
    with pytest.raises(KeyboardInterrupt):
        train(of, stops, Resident(CLIPS, of.mesh), checkpoints(tmp_path), monitor)
    assert checkpoints(tmp_path).position() == STEPS + 1
    assert_same_bits(whole_run(tmp_path), uninterrupted[0])
    events = Log(tmp_path / "log.jsonl").read()
    assert without_times(events) == without_times(uninterrupted[1])


def test_a_fold_that_fails_is_told_once_with_its_clips(tmp_path, capsys):
    state = whole_run(tmp_path, clips=with_an_endless_clip())
    screen = capsys.readouterr().out
    events = Log(tmp_path / "log.jsonl").read()
    told = {event["fold"]: event for event in events if event["event"] == "diverged"}
    failed = state.failed[: len(FOLDS)]
    assert len(told) == sum(event["event"] == "diverged" for event in events) == len(FOLDS) - 1
    for fold, (number, step) in zip(FOLDS, failed, strict=True):
        if number >= 0:
            assert (told[fold.name]["epoch"], told[fold.name]["step"]) == (number + 1, step + 1)
            assert NAMES[3] in told[fold.name]["clips"]
            assert screen.count(f"Diverged: fold {fold.title}, epoch {number + 1}") == 1
    last = [event for event in events if event["event"] == "epoch"][-1]
    assert [loss is None for loss in last["fold_loss"]] == (failed[:, 0] >= 0).tolist()
    assert np.isfinite(last["loss"])


def test_a_run_of_which_every_fold_fails_ends_with_a_remedy(tmp_path):
    scale = np.full(len(CLIPS.scale), 1e25, np.float32)
    with pytest.raises(UserError, match=r"Every fold has diverged.*learning_rate"):
        whole_run(tmp_path, clips=CLIPS._replace(scale=scale))
