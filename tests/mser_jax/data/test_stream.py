"""Clips that are streamed give the results of clips that lie on the devices."""

import itertools

import jax
import numpy as np
import pytest
from test_fold_parallel import FOLDS, LIFTS, VARIANTS, assert_same_bits, made_clips, toy, trained

from mser_jax import parallel
from mser_jax.data.feed import Resident
from mser_jax.data.stream import Streamed
from mser_jax.train.evaluator import Answers

CLIPS = made_clips()
STEP = 2 * 4  # clips of a step of two folds


class OnDisk:
    """Stands for pixels on disk, and counts what is read."""

    def __init__(self, pixels: np.ndarray):
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self.read: list[int] = []
        self._pixels = pixels

    def __getitem__(self, index: int) -> np.ndarray:
        self.read.append(int(index))
        return self._pixels[index]


def streamed(mesh, room=STEP, clips=CLIPS) -> tuple[Streamed, OnDisk]:
    pixels = OnDisk(clips.pixels)
    return Streamed(clips._replace(pixels=pixels), len(VARIANTS), mesh, room), pixels


@pytest.mark.parametrize("lift", LIFTS)
def test_streamed_steps_are_the_resident_ones_to_the_bit(lift):
    made = toy(4, lift)
    of, run = made.trainer, made.trainer.run(streamed=True)
    feed, _ = streamed(of.mesh)
    state = parallel.shard(made.start, of.mesh)
    for epoch in range(2):
        totals, windows = of.no_totals(), list(feed.windows(of.schedule(epoch), 0, of.steps))
        assert len(windows) > 1, "else nothing is streamed"
        for window in windows:
            call = of.call(epoch, window.first, window.stop)
            state, totals = run(state, totals, window.schedule, None, call, window.clips)
    expected, seen = trained(made, CLIPS)
    assert_same_bits(jax.device_get((state, totals)), (expected, seen[-1]))


def test_streamed_answers_are_the_resident_ones():
    made = toy(4)
    state = parallel.shard(made.start, made.trainer.mesh)
    count = len(CLIPS.labels)
    expected = Answers(made.trainer, Resident(CLIPS, made.trainer.mesh)).of_all(state, count)
    feed, pixels = streamed(made.trainer.mesh)
    np.testing.assert_array_equal(Answers(made.trainer, feed).of_all(state, count), expected)
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
    """What an entry of a window names on its device is what it names in the schedule."""
    slots = len(schedule) // 4
    numbered = np.asarray(window.schedule)
    pixels, labels = np.asarray(window.clips.pixels), np.asarray(window.clips.labels)
    for slot in range(len(FOLDS)):
        for step in range(window.first, window.stop):
            for entry, place in zip(schedule[slot, step], numbered[slot, step]):
                if entry < 0:
                    assert place < 0
                    continue
                clip, at = entry // len(VARIANTS), room * (slot // slots) + place // len(VARIANTS)
                assert entry % len(VARIANTS) == place % len(VARIANTS)
                assert labels[at] == CLIPS.labels[clip]
                np.testing.assert_array_equal(pixels[at], CLIPS.pixels[clip])
