"""A fold in the stack is the fold alone, on any number of devices, and the devices never talk."""

import functools
import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from mser_jax import parallel
from mser_jax.data.augment import Clips, View
from mser_jax.data.feed import Resident
from mser_jax.data.folds import loso, replicate
from mser_jax.data.schedule import EMPTY
from mser_jax.models import MSRes3D, MSRes3DSettings, functional
from mser_jax.models.layers import ConvBN, Dense, global_mean
from mser_jax.train.state import State
from mser_jax.train.trainer import Settings, Trainer

SUBJECTS = np.array(list("abbcccdeea"))  # fold d trains on more clips: it has a step more
GROUPS = [f"made/{subject}" for subject in SUBJECTS]
SEED = 5
FOLDS = replicate(loso(GROUPS), [SEED])
LIFTS = ("map", "vmap")
VARIANTS = ("original", "left", "mirror")
COLLECTIVE = re.compile(
    r"\b(all-gather|all-reduce|all-to-all|collective-\w+|reduce-scatter)(-start)?\("
)
GROUPED = re.compile(r"feature_group_count ?= ?([2-9]|1\d)")


class Toy(nnx.Module):
    """Two heads on one convolution and its normalisation: compiles in a second."""

    def __init__(self, *, rngs):
        self.body = ConvBN(3, 4, (1, 3, 3), (1, 2, 2), rngs=rngs)
        self.heads = nnx.List(Dense(4, 3, rngs=rngs) for _ in range(2))

    def __call__(self, x, mask=None, key=None):
        means = global_mean(self.body(x, mask)).reshape(x.shape[0], -1)
        return jnp.stack([head(means) for head in self.heads], axis=1)


TOY = functional(lambda rngs: Toy(rngs=rngs))


@functools.cache
def small_msres3d():
    """The paper's network with every module, as narrow and shallow as it goes."""
    settings = MSRes3DSettings(classes=3, block="basic", width=2, depths=(1, 1, 1, 1), hidden=8)
    return functional(lambda rngs: MSRes3D(settings, rngs=rngs))


def made_clips(side=16, seed=0) -> Clips:
    """Ten clips of noise; the flow of a class leans its own way, so that it can be learned."""
    rng = np.random.default_rng(seed)
    labels = np.arange(len(GROUPS), dtype=np.int32) % 3
    pixels = rng.normal(size=(len(GROUPS), 3, side, side, 2))
    pixels += np.array([[3, 0], [0, 3], [-3, -3]])[labels].reshape(-1, 1, 1, 1, 2)
    return Clips(pixels.astype(np.float16), np.ones(len(GROUPS), np.float32), labels)


def trainer(
    folds=FOLDS, *, network=TOY, heads=2, devices=1, lift="map", size=12, **settings
) -> Trainer:
    chosen = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2, "augment": "sample"}
    chosen |= {"checkpoint_every": 10} | settings
    return Trainer.of(
        folds,
        network=network,
        view=View(size, VARIANTS, ("u", "v", "strain")),
        settings=Settings(**chosen),
        heads=heads,
        classes=3,
        mesh=parallel.fold_mesh(jax.devices()[:devices]),
        lift=lift,
    )


class Program(NamedTuple):
    """A trainer, its first states in host memory and its steps, compiled at most once."""

    trainer: Trainer
    start: State
    run: Callable


def program(of: Trainer) -> Program:
    return Program(of, jax.device_get(of.start()), of.run())


@functools.cache
def toy(devices=1, lift="map", only: int | None = None) -> Program:
    """All folds of the toy, or one alone."""
    folds = FOLDS if only is None else FOLDS[only : only + 1]
    return program(trainer(folds, devices=devices, lift=lift))


def epoch(made: Program, state: State, clips: Clips, epoch=0, schedule=None):
    """The states after an epoch, or after the steps of a schedule, and its `Totals`."""
    of = made.trainer
    schedule = of.schedule(epoch) if schedule is None else schedule
    (window,) = Resident(clips, of.mesh).windows(schedule, 0, schedule.shape[1])
    call = of.call(epoch, window.first, window.stop)
    state = parallel.shard(state, of.mesh)
    return jax.device_get(
        made.run(state, of.no_totals(), window.schedule, of.class_weights(), call, window.clips)
    )


def trained(made: Program, clips: Clips, epochs=2):
    """The states and the `Totals` of every epoch, in host memory, dummy folds with them."""
    state, seen = made.start, []
    for number in range(epochs):
        state, totals = epoch(made, state, clips, number)
        seen.append(totals)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, seen)))
    return state, seen


def fold_of(tree, slot: int | slice):
    return jax.tree.map(lambda leaf: leaf[slot], tree)


def assert_same_bits(one, other):
    jax.tree.map_with_path(
        lambda path, a, b: np.testing.assert_array_equal(a, b, str(path)), one, other
    )


def differ(one, other) -> bool:
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: not np.array_equal(a, b), one, other)))


@functools.cache
def small(lift: str) -> tuple[Program, str, str]:
    """The paper's network, two folds a device; the text of its epoch, lowered and compiled.

    An epoch is one step; the compiler is told not to spend time on speed.
    """
    how = {"batch_size": 9, "augment": "none", "heads": 4}
    of = trainer(network=small_msres3d(), devices=4, lift=lift, size=20, **how)
    start = jax.device_get(of.start()) if lift == "map" else small("map")[0].start
    clips = parallel.replicate(made_clips(side=24), of.mesh)
    folded = parallel.shard((start, of.no_totals(), of.schedule(0)), of.mesh)
    lowered = of.run().lower(*folded, None, of.call(0, 0, 1), clips)
    compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    return Program(of, start, compiled), lowered.as_text(), compiled.as_text()


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


class Gradients(Trainer):
    """Moves nothing: after a step the optimiser's state is the gradient."""

    def _optimizer(self):
        def init(params):
            return jax.tree.map(jnp.zeros_like, params)

        def update(updates, state, params=None):
            return init(updates), updates

        return optax.GradientTransformation(init, update)


@functools.cache
def first_step(devices=1, lift="vmap", only: int | None = None):
    """The gradients and the losses of every fold in the first step of the first epoch."""
    of = Gradients(**vars(toy(devices, lift, only).trainer))
    made = Program(of, toy(devices, lift, only).start, of.run())
    start = made.start._replace(opt=made.start.params)
    state, totals = epoch(made, start, made_clips(), schedule=of.schedule(0)[:, :1])
    return state.opt, totals.losses


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
    for before, after in zip(jax.tree.leaves(made.start.stats), jax.tree.leaves(state.stats)):
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
    summed = parallel.over_folds(lambda x: jax.lax.psum(x, parallel.AXIS), mesh, "vmap", folded=1)
    assert COLLECTIVE.findall(summed.lower(np.ones((4, 2))).compile().as_text())

    def native(x, kernel):
        return jax.lax.conv(x, kernel, (1, 1), "SAME")

    x, kernel = np.ones((8, 1, 2, 5, 5), np.float32), np.ones((8, 3, 2, 3, 3), np.float32)
    lifted = parallel.over_folds(native, mesh, "vmap", folded=2)
    assert GROUPED.findall(lifted.lower(x, kernel).as_text())


@pytest.mark.parametrize(("folds", "devices"), [(1, 1), (3, 3), (4, 4), (5, 3), (6, 3), (9, 3)])
def test_a_device_that_would_spare_no_other_a_fold_is_not_used(folds, devices, monkeypatch):
    assert len(jax.devices()) == 4
    assert parallel.mesh_for(folds).devices.size == devices
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert parallel.mesh_for(folds).devices.size == 4


def test_dummy_folds_fill_the_last_device():
    mesh = parallel.fold_mesh(jax.devices()[:4])
    padded = parallel.pad_folds(np.arange(5), parallel.slots(5, mesh), EMPTY)
    np.testing.assert_array_equal(padded, [0, 1, 2, 3, 4, EMPTY, EMPTY, EMPTY])
    assert parallel.slots(4, mesh) == 4
