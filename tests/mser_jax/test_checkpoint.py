import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_prep.errors import UserError
from mser_jax import parallel
from mser_jax.checkpoint import Checkpoints
from mser_jax.state import State

FOLDS = ["a/1", "a/2", "a/3"]


def states(seed, devices=None, folds=4):
    """States of three folds and a dummy, spread over the devices; not one number is round."""
    rng = np.random.default_rng(seed)
    params = {
        "kernel": jnp.asarray(rng.standard_normal((4, 3, 2)), jnp.float32),
        "list": {0: {"bias": jnp.asarray(rng.standard_normal((4, 1)), jnp.float32)}},
    }
    stats = {"mean": jnp.asarray(rng.standard_normal((4, 2)), jnp.float32)}
    optimizer = optax.adam(1e-3)
    opt = jax.vmap(optimizer.init)(params)
    _, opt = jax.vmap(optimizer.update)(params, opt, params)
    state = jax.tree.map(lambda leaf: leaf[:folds], State(params, stats, opt))
    return parallel.shard(state, parallel.fold_mesh(devices))


def parts(state):
    """The three folds, and the dummy."""
    folds = jax.tree.map(lambda leaf: np.asarray(leaf)[:3], state)
    return folds, jax.tree.map(lambda leaf: np.asarray(leaf)[3:], state)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "run" / "checkpoints", FOLDS, "noise/0123")


def assert_same(first, second):
    def same(a, b):
        assert a.dtype == b.dtype
        assert getattr(a, "sharding", None) == getattr(b, "sharding", None)
        np.testing.assert_array_equal(a, b)

    jax.tree.map(same, first, second)


def test_nothing_saved_gives_the_start_back(checkpoints):
    start = states(0)
    assert checkpoints.epochs_done() == 0
    done, restored = checkpoints.restore(start)
    assert done == 0
    assert restored is start


def test_the_newest_comes_back_to_the_bit_on_its_devices_and_two_are_kept(checkpoints):
    for epoch in (1, 2, 10):
        checkpoints.save(epoch, states(epoch))
        assert checkpoints.epochs_done() == epoch
        assert checkpoints.path(epoch).is_dir()
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["10", "2"]
    done, restored = dataclasses.replace(checkpoints).restore(states(0))
    assert done == 10
    start = states(0)
    assert all(
        jax.tree.leaves(jax.tree.map(lambda a, b: a.sharding == b.sharding, restored, start))
    )
    assert_same(parts(restored)[0], parts(states(10))[0])
    assert_same(parts(restored)[1], parts(start)[1])  # a dummy is not stored


def test_another_number_of_devices_needs_other_dummies(checkpoints):
    one = jax.devices()[:1]
    checkpoints.save(1, states(1))
    assert_same(checkpoints.restore(states(0, one, folds=3))[1], states(1, one, folds=3))
    checkpoints.save(2, states(2, one, folds=3))
    assert_same(parts(checkpoints.restore(states(0))[1])[0], parts(states(2))[0])


def test_an_epoch_saved_again_is_replaced(checkpoints):
    checkpoints.save(1, states(1))
    checkpoints.save(1, states(7))
    assert_same(parts(checkpoints.restore(states(0))[1])[0], parts(states(7))[0])


@pytest.mark.parametrize(
    ("field", "other"), [("folds", ["a/1", "a/3", "a/2"]), ("clips", "noise/4567")]
)
def test_checkpoints_of_others_are_refused(checkpoints, field, other):
    checkpoints.save(1, states(1))
    changed = dataclasses.replace(checkpoints, **{field: other})
    with pytest.raises(UserError):
        changed.epochs_done()  # nor is a finished training of theirs taken for this one's
    with pytest.raises(UserError) as caught:
        changed.restore(states(0))
    message = str(caught.value)
    assert f"{checkpoints.folder}: these checkpoints are of other {field}" in message
    assert (other if isinstance(other, str) else '["a/1", "a/3", "a/2"]') in message
    assert "Remedy:" in message
