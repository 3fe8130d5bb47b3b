"""Clips that are streamed give the results of clips that lie on the devices."""

import itertools

import jax
import numpy as np
import pytest

from helpers.toy import FOLDS, LIFTS, assert_same_bits, toy, trained
from helpers.toy_clips import CLIPS, STEP, streamed
from mser_jax import parallel
from mser_jax.data.feed import Resident
from mser_jax.train.evaluator import Evaluator


@pytest.mark.parametrize("lift", LIFTS)
def test_streamed_steps_are_the_resident_ones_to_the_bit(lift):
    made = toy(4, lift)
    of, run = made.trainer, made.trainer.train_steps(streamed=True)
    feed, _ = streamed(of.mesh)
    state = parallel.shard(made.start, of.mesh)
    for epoch in range(2):
        metrics, windows = of.zero_metrics(), list(feed.windows(of.schedule(epoch), 0, of.steps))
        assert len(windows) > 1, "else nothing is streamed"
        for window in windows:
            call = of.step_range(epoch, window.first, window.stop)
            state, metrics = run(state, metrics, window.schedule, None, call, window.clips)
    expected, seen = trained(made, CLIPS)
    assert_same_bits(jax.device_get((state, metrics)), (expected, seen[-1]))


def test_streamed_answers_are_the_resident_ones():
    made = toy(4)
    state = parallel.shard(made.start, made.trainer.mesh)
    count = len(CLIPS.labels)
    expected = Evaluator(made.trainer, Resident(CLIPS, made.trainer.mesh)).logits(state, count)
    feed, pixels = streamed(made.trainer.mesh)
    np.testing.assert_array_equal(Evaluator(made.trainer, feed).logits(state, count), expected)
    assert set(pixels.read) == set(range(count))


def test_a_window_holds_what_its_steps_need_and_not_more_than_there_is_room_for():
    of = toy(4).trainer
    for room in (STEP, len(CLIPS.labels)):
        feed, pixels = streamed(of.mesh, room)
        schedule = of.schedule(1)
        windows = list(feed.windows(schedule, 1, of.steps))
        assert windows[0].first == 1
        assert windows[-1].stop == of.steps
        for before, after in itertools.pairwise(windows):
            assert before.stop == after.first
        for window in windows:
            assert window.clips.pixels.shape[0] == room * of.mesh.devices.size
            assert_same_clips(schedule, window, room)
        assert len(pixels.read) <= sum(room for _ in windows) * of.mesh.devices.size
    assert len(windows) == 1, "all clips fit at last"


def assert_same_clips(schedule, window, room):
    """A slot of a window has on its device the clip that it has in the schedule."""
    slots = len(schedule.clip) // 4
    numbered = np.asarray(window.schedule.clip)
    np.testing.assert_array_equal(window.schedule.mask, schedule.mask)
    np.testing.assert_array_equal(window.schedule.variant, schedule.variant)
    pixels, labels = np.asarray(window.clips.pixels), np.asarray(window.clips.labels)
    for slot in range(len(FOLDS)):
        for step in range(window.first, window.stop):
            if not schedule.mask[slot, step].any():
                continue
            for clip, place in zip(schedule.clip[slot, step], numbered[slot, step]):
                at = room * (slot // slots) + place
                assert labels[at] == CLIPS.labels[clip]
                np.testing.assert_array_equal(pixels[at], CLIPS.pixels[clip])
