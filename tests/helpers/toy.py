"""A toy network on the toy clips: its trainer, programs, trained states and predictions."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from helpers.toy_clips import DATASET, GROUPS, VARIANTS, made_clips
from mser_jax import parallel
from mser_jax.data.augment import Clips, View
from mser_jax.data.feed import Resident
from mser_jax.data.folds import loso, replicate
from mser_jax.experiments import held_out
from mser_jax.models import MSRes3D, MSRes3DSettings, functional
from mser_jax.models.layers import ConvBN, Dense, global_mean
from mser_jax.train import evaluator
from mser_jax.train.state import State
from mser_jax.train.trainer import Settings, Trainer

SEED = 5
FOLDS = replicate(loso(GROUPS), [SEED])
LIFTS = ("map", "vmap")


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


def trainer(
    folds=FOLDS, *, network=TOY, heads=2, devices=1, lift="map", size=12, **settings
) -> Trainer:
    chosen = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2, "augment": "sample"}
    chosen |= {"checkpoint_every": 10} | settings
    return Trainer.create(
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
    return Program(of, jax.device_get(of.init_state()), of.train_steps())


@functools.cache
def toy(devices=1, lift="map", only: int | None = None) -> Program:
    """All folds of the toy, or one alone."""
    folds = FOLDS if only is None else FOLDS[only : only + 1]
    return program(trainer(folds, devices=devices, lift=lift))


def epoch(made: Program, state: State, clips: Clips, epoch=0, schedule=None):
    """The states after an epoch, or after the steps of a schedule, and its `StepMetrics`."""
    of = made.trainer
    schedule = of.schedule(epoch) if schedule is None else schedule
    (window,) = Resident(clips, of.mesh).windows(schedule, 0, schedule.clip.shape[1])
    call = of.step_range(epoch, window.first, window.stop)
    state = parallel.shard(state, of.mesh)
    return jax.device_get(
        made.run(state, of.zero_metrics(), window.schedule, of.class_weights(), call, window.clips)
    )


def trained(made: Program, clips: Clips, epochs=2):
    """The states and the `StepMetrics` of every epoch, in host memory, dummy folds with them."""
    state, seen = made.start, []
    for number in range(epochs):
        state, metrics = epoch(made, state, clips, number)
        seen.append(metrics)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, seen)))
    return state, seen


def predicted(made: Program, clips: Clips):
    """The table after two epochs."""
    mesh = made.trainer.mesh
    state, _ = trained(made, clips)
    answers = evaluator.Evaluator(made.trainer, Resident(clips, mesh))
    logits = answers.logits(parallel.shard(state, mesh), len(clips.labels))
    return held_out.predictions_from_logits(made.trainer.folds, logits, DATASET)


def rows_of(table, fold: str):
    """The probabilities and the training losses of one fold's rows, by clip."""
    rows = np.flatnonzero(table.fold == fold)
    rows = rows[np.argsort(table.clip[rows])]
    return table.clip[rows].tolist(), table.probabilities[rows], table.train_loss[rows]


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
    start = jax.device_get(of.init_state()) if lift == "map" else small("map")[0].start
    clips = parallel.replicate(made_clips(side=24), of.mesh)
    folded = parallel.shard((start, of.zero_metrics(), of.schedule(0)), of.mesh)
    lowered = of.train_steps().lower(*folded, None, of.step_range(0, 0, 1), clips)
    compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    return Program(of, start, compiled), lowered.as_text(), compiled.as_text()


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
    made = Program(of, toy(devices, lift, only).start, of.train_steps())
    start = made.start._replace(opt_state=made.start.params)
    state, metrics = epoch(
        made, start, made_clips(), schedule=jax.tree.map(lambda leaf: leaf[:, :1], of.schedule(0))
    )
    return state.opt_state, metrics.losses
