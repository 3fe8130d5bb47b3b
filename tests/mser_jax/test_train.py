"""The epoch of one fold, the loop over epochs, stopping and going on."""

import dataclasses
import functools
import signal

import jax
import numpy as np
import pytest
from test_fold_parallel import (
    FOLDS,
    GROUPS,
    assert_same_bits,
    differ,
    fold_of,
    made_clips,
    small,
    toy,
    trained,
)

from mser_jax import parallel
from mser_jax.augment import Clips
from mser_jax.checkpoint import Checkpoints
from mser_jax.evaluate import all_logits
from mser_jax.folds import EMPTY
from mser_jax.logs import Log
from mser_jax.loop import train

CLIPS = made_clips()
ONE, STEPS, BATCH = 3, 3, 4  # the fold that is trained alone here, and the shape of its epoch


@functools.cache
def one_fold():
    return toy(only=ONE)


def steps(state, schedule, clips: Clips = CLIPS):
    """The state after the steps of a schedule `[step, b]` of the one fold, and their `Progress`."""
    mesh = one_fold().trainer.mesh
    padded = np.full((1, STEPS, BATCH), EMPTY, np.int32)
    padded[0, : len(schedule)] = schedule
    shards = parallel.shard(state, mesh), parallel.shard(padded, mesh)
    state, progress = jax.device_get(one_fold().epoch(*shards, parallel.replicate(clips, mesh)))
    return state, fold_of(progress, 0)


def test_empty_steps_change_nothing():
    moved, _ = steps(one_fold().start, [[0, 9, 21, 24]])
    assert differ(moved, one_fold().start)
    still, progress = steps(moved, np.empty((0, BATCH)))
    assert_same_bits(still, moved)
    assert not any(leaf.any() for leaf in progress)


def test_what_lies_under_an_empty_slot_does_not_matter():
    pixels, labels = CLIPS.pixels.copy(), CLIPS.labels.copy()
    pixels[0], labels[0] = 100, 2  # an empty slot is computed with clip 0
    changed = CLIPS._replace(pixels=pixels, labels=labels)
    batch = [[9, 12, EMPTY, EMPTY]]
    expected = steps(one_fold().start, batch)
    assert_same_bits(steps(one_fold().start, batch, changed), expected)
    assert expected[1].clips == 2
    with_clip_0 = [[9, 12, 0, EMPTY]]
    assert differ(
        steps(one_fold().start, with_clip_0, changed), steps(one_fold().start, with_clip_0)
    )


def test_an_epoch_is_its_steps_and_its_progress_their_mean_over_the_clips():
    schedule = [[0, 9, 12, 27], [15, 19, EMPTY, EMPTY], [21, EMPTY, EMPTY, EMPTY]]
    state, alone = one_fold().start, []
    for batch in schedule:
        state, progress = steps(state, [batch])
        alone.append(progress)
    whole, progress = steps(one_fold().start, schedule)
    assert_same_bits(whole, state)
    weights = np.array([4, 2, 1]) / 7
    np.testing.assert_allclose(progress.losses, weights @ [p.losses for p in alone], rtol=1e-6)
    np.testing.assert_allclose(progress.accuracy, weights @ [p.accuracy for p in alone], rtol=1e-6)
    assert progress.clips == 7


@pytest.mark.slow
def test_the_papers_network_learns_noise_by_heart_also_by_its_running_statistics():
    """Five folds of seven to nine clips of random flow, with random labels."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(size=(len(GROUPS), 3, 24, 24, 2)).astype(np.float16)
    labels = rng.integers(0, 3, len(GROUPS)).astype(np.int32)
    clips = Clips(pixels, np.ones(len(GROUPS), np.float32), labels)
    of = small("map")[0].trainer
    state, seen = trained(small("map")[0], clips, epochs=150)  # the running statistics lag behind
    accuracy = np.array([progress.accuracy[: len(FOLDS)] for progress in seen])
    assert accuracy[0].mean() < 0.7
    np.testing.assert_array_equal(accuracy[-3:], 1)
    on_devices = parallel.shard(state, of.mesh), parallel.replicate(clips, of.mesh)
    logits = all_logits(of, *on_devices)  # in evaluation mode
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
    return Checkpoints(folder, [fold.name for fold in FOLDS], "made")


def whole_run(folder, epochs=4, log=None):
    """The states after a run of the toy's folds on four devices, from where it was left."""
    of = toy(4).trainer
    of = dataclasses.replace(of, settings=dataclasses.replace(of.settings, epochs=epochs))
    clips = parallel.replicate(CLIPS, of.mesh)
    log = log or Log(folder / "log.jsonl")
    return jax.device_get(train(of, clips, checkpoints(folder), log))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return whole_run(folder), Log(folder / "log.jsonl").read()


def without_times(events):
    return [
        {name: value for name, value in event.items() if "second" not in name} for event in events
    ]


def test_the_loop_trains_as_the_epochs_say_and_logs_each(uninterrupted):
    state, events = uninterrupted
    expected, seen = trained(toy(4), CLIPS, epochs=4)
    assert_same_bits(state, expected)
    assert [event["epoch"] for event in events] == [1, 2, 3, 4]
    for event, progress in zip(events, seen):
        fold_loss = progress.losses[: len(FOLDS)].sum(axis=1)
        np.testing.assert_allclose(event["fold_loss"], fold_loss, rtol=1e-6)
        np.testing.assert_allclose(event["loss"], fold_loss.mean(), rtol=1e-6)
        np.testing.assert_allclose(event["fold_accuracy"], progress.accuracy[: len(FOLDS)])
        np.testing.assert_allclose(event["accuracy"], np.mean(event["fold_accuracy"]), rtol=1e-6)
        clips = sum(len(fold.train) for fold in FOLDS)
        assert event["clips_per_second"] * event["seconds"] == pytest.approx(clips)


def test_a_longer_run_goes_on_from_the_checkpoint_to_the_same_bits(uninterrupted, tmp_path):
    whole_run(tmp_path, epochs=2)
    assert checkpoints(tmp_path).epochs_done() == 2
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
    assert "Stopping after the present epoch" in capsys.readouterr().err
    assert checkpoints(tmp_path).epochs_done() == 3
    assert_same_bits(whole_run(tmp_path), uninterrupted[0])
    events = Log(tmp_path / "log.jsonl").read()
    assert without_times(events) == without_times(uninterrupted[1])
