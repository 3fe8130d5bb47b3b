import contextlib
import dataclasses
import os
import resource
import shutil
import sys
import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mser_jax
from data_prep.common.errors import UserError
from mser_jax import parallel
from mser_jax.storage import checkpoints as checkpoint
from mser_jax.storage.checkpoints import Checkpoints
from mser_jax.train.state import State

FOLDS = ["a/1", "a/2", "a/3"]
REAL = slice(0, len(FOLDS))


class Sums(NamedTuple):
    losses: jax.Array
    clips: jax.Array


def states(seed, devices=4, width=2):
    """States and sums of three folds and the dummies that the devices want; no number is round."""
    rng = np.random.default_rng(seed)
    folds = -(-len(FOLDS) // devices) * devices

    def noise(*shape):
        return jnp.asarray(np.resize(rng.standard_normal((6, *shape)), (folds, *shape)), "float32")

    params = {"kernel": noise(3, width), "list": {0: {"bias": noise(1)}}}
    optimizer = optax.chain(optax.adam(1e-3), optax.add_decayed_weights(1e-2))
    _, opt = jax.vmap(optimizer.update)(params, jax.vmap(optimizer.init)(params), params)
    sums = Sums(noise(4), jnp.arange(folds, dtype=jnp.uint32) + seed)
    key, failed = jnp.full((folds, 2), seed, jnp.uint32), jnp.full((folds, 2), -1, jnp.int32)
    tree = (State(params, {"mean": noise(2)}, opt, key, failed), sums)
    return parallel.shard(tree, parallel.fold_mesh(jax.devices()[:devices]))


def real(tree):
    """The folds that are no dummies, in host memory."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[REAL], tree)


def assert_same(first, second):
    def same(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)

    jax.tree.map(same, first, second)


def assert_placed_as(tree, start):
    def same(a, b):
        assert (a.shape, a.dtype, a.sharding) == (b.shape, b.dtype, b.sharding)

    jax.tree.map(same, tree, start)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "run" / "checkpoints", FOLDS, "noise/0123", updates_per_epoch=4)


@pytest.fixture
def impatient(monkeypatch):
    # Several tries also on a busy machine, and few: `largest_file` limits pytest's own capture too.
    monkeypatch.setattr(checkpoint, "PATIENCE", 1.5)
    monkeypatch.setattr(checkpoint, "PAUSE", 0.5)


@contextlib.contextmanager
def largest_file(size):
    """What a write beyond it meets is as a full disk: half a file, and an error of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_nothing_saved_gives_the_start_back_and_makes_no_folder(checkpoints):
    start = states(0)
    assert checkpoints.position() == 0
    position, restored = checkpoints.restore(start)
    assert position == 0
    assert restored is start
    assert not checkpoints.folder.exists()


@pytest.mark.parametrize("kept", [1, 2])
def test_the_newest_comes_back_to_the_bit_and_as_many_as_asked_are_kept(checkpoints, kept):
    checkpoints = dataclasses.replace(checkpoints, max_to_keep=kept)
    with checkpoints:
        for position in (1, 2, 10):
            checkpoints.save(position, states(position), wait=True)
            assert checkpoints.position() == position
            assert checkpoints.path(position).is_dir()
    assert names(checkpoints.folder) == ["10", "2"][:kept]
    position, restored = dataclasses.replace(checkpoints).restore(states(0))
    assert position == 10
    assert_same(real(restored), real(states(10)))
    assert_placed_as(restored, states(0))


def test_the_buffers_may_be_donated_as_soon_as_save_returns(checkpoints):
    spoil = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)
    with checkpoints:
        for position in (1, 2):
            tree = states(position, width=100_000)
            checkpoints.save(position, tree)
            jax.block_until_ready(spoil(tree))
    assert_same(
        real(checkpoints.restore(states(0, width=100_000))[1]), real(states(2, width=100_000))
    )


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (4, 2), (2, 4)])
def test_another_number_of_devices_finds_the_same_bits_of_the_real_folds(
    checkpoints, before, after
):
    with checkpoints:
        checkpoints.save(1, states(1, before))
    restored = checkpoints.restore(states(0, after))[1]
    assert_same(real(restored), real(states(1)))
    assert_placed_as(restored, states(0, after))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(restored))


def test_a_position_that_is_saved_is_not_saved_again(checkpoints):
    with checkpoints:
        checkpoints.save(1, states(1))
        checkpoints.save(1, states(7), wait=True)
    with checkpoints:
        checkpoints.save(1, states(7), wait=True)
    assert_same(real(checkpoints.restore(states(0))[1]), real(states(1)))


OTHERS = {
    "other folds": (
        {"folds": ["a/1", "a/3", "a/4"]},
        "folds: checkpoint 3, now 3; only in the checkpoint: 'a/2'; only now: 'a/4'",
    ),
    "other folds, only their order": (
        {"folds": ["a/1", "a/3", "a/2"]},
        "folds: in another order: checkpoint 'a/1', 'a/2', 'a/3'; now 'a/1', 'a/3', 'a/2'",
    ),
    "other clips": ({"clips_id": "noise/4567"}, "clips: checkpoint noise/0123, now noise/4567"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_checkpoints_of_others_are_refused(checkpoints, kind):
    with checkpoints:
        checkpoints.save(1, states(1))
    fields, shown = OTHERS[kind]
    changed = dataclasses.replace(checkpoints, **fields)
    with pytest.raises(UserError) as caught:
        changed.position()  # nor is a finished training of theirs taken for this one's
    with pytest.raises(UserError, match="Fix:"):
        changed.restore(states(0))
    told = str(caught.value).splitlines()
    other = kind.partition(",")[0]
    assert told[0] == f"{checkpoints.folder}: these checkpoints are of {other}:"
    assert told[1] == f"  {shown}"
    assert told[2].startswith("Fix: give another --workdir")


def test_of_many_folds_that_differ_a_few_are_named(checkpoints):
    with checkpoints:
        checkpoints.save(1, states(1))
    more = [*FOLDS, *(f"b/{subject}" for subject in range(20))]
    with pytest.raises(UserError) as caught:
        dataclasses.replace(checkpoints, folds=more).position()
    assert "now 23; only in the checkpoint: none; only now: 'b/0', " in str(caught.value)
    assert "'b/5' and 14 more" in str(caught.value)


def test_checkpoints_of_another_version_are_refused_and_it_is_named(checkpoints, monkeypatch):
    with checkpoints:
        checkpoints.save(1, states(1))
    monkeypatch.setattr(mser_jax, "__version__", "9.9.9")
    before = "0.1.0"
    with pytest.raises(UserError) as caught:
        checkpoints.position()
    assert f"version: checkpoint {before}, now 9.9.9" in str(caught.value)
    assert f"pip install mser_jax=={before}" in str(caught.value)


def test_a_network_of_other_sizes_is_refused_and_not_padded(checkpoints):
    with checkpoints:
        checkpoints.save(1, states(1, width=2))
    with pytest.raises(UserError) as caught:
        checkpoints.restore(states(0, width=3))
    assert "of another network or optimiser" in str(caught.value)
    assert "'0/params/kernel float32[3, 2]'" in str(caught.value)
    assert "bias" not in str(caught.value)


@pytest.mark.parametrize(
    "part", ["state/d", "state/ocdbt.process_0/d", "state/_METADATA", "_CHECKPOINT_METADATA"]
)
def test_one_that_a_power_cut_spoiled_is_named_with_a_remedy_that_works(checkpoints, part):
    with checkpoints:
        for position in (1, 2):
            checkpoints.save(position, states(position, width=1000))
    spoiled = checkpoints.path(2) / part
    for file in (spoiled,) if spoiled.is_file() else spoiled.iterdir():
        os.truncate(file, 10)
    with pytest.raises(UserError, match=r"/2: cannot be read \(.*\)\. Fix: remove this folder"):
        checkpoints.restore(states(0, width=1000))
    shutil.rmtree(checkpoints.path(2))
    assert checkpoints.restore(states(0, width=1000))[0] == 1


@pytest.mark.parametrize("part", ["state/_METADATA", "_CHECKPOINT_METADATA"])
def test_one_that_lacks_a_file_is_named_already_where_only_its_position_is_asked(checkpoints, part):
    with checkpoints:
        checkpoints.save(1, states(1))
    (checkpoints.path(1) / part).unlink()
    with pytest.raises(UserError, match=r"/1: cannot be read \(.*\)\. Fix: remove this folder"):
        checkpoints.position()


def test_half_a_checkpoint_is_none_and_goes_when_the_next_is_written(checkpoints):
    with checkpoints:
        checkpoints.save(1, states(1))
    half = checkpoints.folder / "2.orbax-checkpoint-tmp"
    shutil.copytree(checkpoints.path(1), half)
    assert checkpoints.position() == 1
    assert half.is_dir()  # whoever only looks removes nothing
    with checkpoints:
        checkpoints.save(3, states(3))
    assert names(checkpoints.folder) == ["1", "3"]


def test_a_folder_without_the_room_is_refused_before_the_training(checkpoints, monkeypatch):
    tree = states(1, width=1000)
    with checkpoints:
        checkpoints.save(1, tree)
    checkpoints.check_disk_space(tree)
    there = sum(path.stat().st_size for path in checkpoints.folder.rglob("*") if path.is_file())
    usage = shutil.disk_usage("/")._replace(free=200_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError) as caught:
        checkpoints.check_disk_space(tree)
    size = sum(leaf.nbytes + 2048 for leaf in jax.tree.leaves(tree))
    assert str(caught.value) == (
        f"{checkpoints.folder}: not enough disk space for 3 checkpoints of {size / 1e3:.1f} kB "
        f"({(3 * size - there) / 1e3:.1f} kB needed, 200.0 kB free). Fix: free "
        f"{(3 * size - there - 200_000) / 1e3:.1f} kB, or give a --workdir on another disk."
    )
    with pytest.raises(UserError, match="for 7 checkpoints"):
        checkpoints.check_disk_space(jax.eval_shape(lambda: tree), rounds_left=3)
    checkpoints.check_disk_space(states(1))


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(checkpoints):
    checkpoints.folder.parent.mkdir()
    checkpoints.folder.write_text("")
    with pytest.raises(UserError, match=r"checkpoints: cannot be written \(.*Fix: .*--workdir"):
        checkpoints.check_disk_space(states(1))


@pytest.mark.parametrize("limit", [2_000, 20_000])  # what Orbax notes of the arrays; their numbers
def test_a_disk_that_fails_is_told_once_and_the_next_checkpoint_is_the_next_try(
    checkpoints, capfd, limit
):
    hook = sys.unraisablehook
    with checkpoints:
        checkpoints.save(4, states(4, width=1000), wait=True)
        with largest_file(limit):
            for position in (6, 8):
                checkpoints.save(position, states(position, width=1000))
            assert checkpoints.position() == 4
        assert checkpoints.restore(states(0, width=1000))[0] == 4
        checkpoints.save(12, states(12, width=1000))
    assert sys.unraisablehook is hook
    assert names(checkpoints.folder) == ["12", "4"]
    assert_same(real(checkpoints.restore(states(0, width=1000))[1]), real(states(12, width=1000)))
    told = capfd.readouterr().err
    assert told.count("cannot be saved") == 1
    assert "epoch 1 and 2 updates cannot be saved: File too large (" in told
    assert "epoch 1 is safe" in told
    assert "Traceback" not in told


def test_the_last_checkpoint_waits_for_the_disk(checkpoints, capfd, monkeypatch):
    def somebody_frees_space(seconds):
        assert seconds == checkpoint.PAUSE
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        threading.Event().wait(0.2)

    monkeypatch.setattr(checkpoint.time, "sleep", somebody_frees_space)
    with checkpoints, largest_file(2_000):
        checkpoints.save(4, states(4), wait=True)
    assert_same(real(checkpoints.restore(states(0))[1]), real(states(4)))
    told = capfd.readouterr().err
    assert told.count("Free space, or press Ctrl-C.") == 1
    assert "nothing is saved yet" in told


def test_a_disk_that_goes_on_failing_ends_in_what_is_safe(checkpoints, impatient, capfd):
    with checkpoints:
        checkpoints.save(4, states(4), wait=True)
        with largest_file(2_000), pytest.raises(UserError) as caught:
            checkpoints.save(8, states(8), wait=True)
    told = " ".join(str(caught.value).split())
    assert "epoch 2 cannot be saved: File too large" in told
    assert "epoch 1 is safe. Fix: free space" in told
    assert capfd.readouterr().err.count("Free space, or press Ctrl-C.") > 1
    assert checkpoints.restore(states(0))[0] == 4


def test_a_disk_that_may_only_be_read_fails_like_a_full_one(checkpoints, capfd, monkeypatch):
    with checkpoints:
        checkpoints.save(4, states(4), wait=True)

        def refused(*arguments, **options):
            raise OSError(30, os.strerror(30))

        with monkeypatch.context() as patch:
            patch.setattr(os, "mkdir", refused)
            checkpoints.save(8, states(8))
            assert checkpoints.position() == 4
        assert "epoch 2 cannot be saved: Read-only file system" in capfd.readouterr().err
        checkpoints.save(8, states(8))
    assert checkpoints.position() == 8


def test_a_mistake_of_the_program_is_not_taken_for_the_disks(checkpoints):
    unheard_of = dataclasses.replace(checkpoints, clips_id=object())
    with unheard_of, pytest.raises(TypeError, match="JSON"):
        unheard_of.save(1, states(1), wait=True)
