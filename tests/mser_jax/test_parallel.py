"""A fold in the stack is the fold alone, on any number of devices, and the devices never talk."""

import functools
import re
import warnings

import jax
import numpy as np
import pytest

from helpers.toy import (
    FOLDS,
    LIFTS,
    assert_same_bits,
    differ,
    first_step,
    fold_of,
    program,
    small,
    small_msres3d,
    toy,
    trained,
    trainer,
)
from helpers.toy_clips import made_clips
from mser_jax import parallel

COLLECTIVE = re.compile(
    r"\b(all-gather|all-reduce|all-to-all|collective-\w+|reduce-scatter)(-start)?\("
)
GROUPED = re.compile(r"feature_group_count ?= ?([2-9]|1\d)")


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_under_map_a_fold_in_the_stack_is_the_fold_alone_to_the_bit(devices):
    assert devices == 1 or len(FOLDS) % devices  # so that there is a dummy fold
    stack = trained(toy(devices), made_clips())
    for slot in (0, 3):  # of two and of three steps
        assert_same_bits(fold_of(stack, slot), fold_of(trained(toy(only=slot), made_clips()), 0))


@pytest.mark.slow
def test_under_map_the_papers_network_is_the_same_on_two_devices_and_on_four_to_the_bit():
    """One device alone is compiled in another way: docs/parallel.md."""
    how = {"network": small_msres3d(), "heads": 4, "size": 20, "augment": "none"}
    on = {devices: trainer(devices=devices, **how) for devices in (2, 4)}
    states = {n: trained(program(of), made_clips(side=24), epochs=3)[0] for n, of in on.items()}
    real = slice(0, len(FOLDS))
    assert_same_bits(fold_of(states[2], real), fold_of(states[4], real))


def assert_close(one, other):
    """To the rounding of float32, relative to the largest entry of each leaf."""

    def check(tolerance, path, a, b):
        scale = np.abs(b).max()
        assert scale > 0, path
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=str(path))

    (grads, losses), (other_grads, other_losses) = one, other
    check(1e-6, "losses", losses, other_losses)
    # A gradient adds up hundreds of terms of either sign, in an order that the compiler chooses.
    jax.tree.map_with_path(functools.partial(check, 1e-5), grads, other_grads)


def test_under_vmap_the_first_loss_and_gradients_are_those_of_the_fold_alone():
    stack = first_step(devices=2)
    for slot in (0, 3):
        assert_close(fold_of(stack, slot), fold_of(first_step(only=slot), 0))


def test_the_lifts_agree():
    real = slice(0, len(FOLDS))
    assert_close(fold_of(first_step(2, "map"), real), fold_of(first_step(2, "vmap"), real))


@pytest.mark.parametrize("lift", LIFTS)
def test_a_dummy_fold_stays_as_it_was_and_warns_of_nothing(lift):
    made, dummy = toy(4, lift), len(FOLDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state, seen = trained(made, made_clips())
    assert_same_bits(fold_of(state, dummy), fold_of(made.start, dummy))
    assert differ(fold_of(state, 0), fold_of(made.start, 0))
    assert not any(leaf[dummy].any() for leaf in jax.tree.leaves(seen))


@pytest.mark.parametrize("lift", LIFTS)
def test_the_running_statistics_move_differently_in_each_fold(lift):
    made, _, _ = small(lift)
    state, _ = trained(made, made_clips(side=24), epochs=1)
    for before, after in zip(
        jax.tree.leaves(made.start.batch_stats), jax.tree.leaves(state.batch_stats)
    ):
        moves = (after - before)[: len(FOLDS)].reshape(len(FOLDS), -1)
        assert moves.any(axis=1).all()
        assert len(np.unique(moves, axis=0)) == len(FOLDS)


@pytest.mark.parametrize("lift", LIFTS)
def test_the_papers_network_compiles_to_no_collective_and_no_grouped_convolution(lift):
    _, lowered, compiled = small(lift)
    assert not COLLECTIVE.findall(compiled)
    assert not GROUPED.findall(lowered + compiled)


def test_the_search_of_the_compiled_text_finds_what_it_looks_for():
    mesh = parallel.fold_mesh(jax.devices()[:4])
    summed = parallel.over_folds(
        lambda x: jax.lax.psum(x, parallel.AXIS), mesh, "vmap", num_fold_args=1
    )
    assert COLLECTIVE.findall(summed.lower(np.ones((4, 2))).compile().as_text())

    def native(x, kernel):
        return jax.lax.conv(x, kernel, (1, 1), "SAME")

    x, kernel = np.ones((8, 1, 2, 5, 5), np.float32), np.ones((8, 3, 2, 3, 3), np.float32)
    lifted = parallel.over_folds(native, mesh, "vmap", num_fold_args=2)
    assert GROUPED.findall(lifted.lower(x, kernel).as_text())


@pytest.mark.parametrize(("folds", "devices"), [(1, 1), (3, 3), (4, 4), (5, 3), (6, 3), (9, 3)])
def test_a_device_that_would_spare_no_other_a_fold_is_not_used(folds, devices, monkeypatch):
    assert len(jax.devices()) == 4
    assert parallel.mesh_for(folds).devices.size == devices
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert parallel.mesh_for(folds).devices.size == 4


def test_dummy_folds_fill_the_last_device():
    mesh = parallel.fold_mesh(jax.devices()[:4])
    padded = parallel.pad_folds(np.arange(5), parallel.slots(5, mesh), 7)
    np.testing.assert_array_equal(padded, [0, 1, 2, 3, 4, 7, 7, 7])
    assert parallel.slots(4, mesh) == 4
