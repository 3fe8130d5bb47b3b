"""Training: one fold's steps, written once, and what runs every fold's steps together."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from mser_jax import folds as folding
from mser_jax import losses, optimizer, parallel, schedules
from mser_jax import state as states
from mser_jax.augment import Clips, View
from mser_jax.folds import Fold
from mser_jax.models import Network
from mser_jax.state import State


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train; `mser_jax.config` says what each field means."""

    epochs: int
    batch_size: int
    learning_rate: float
    augment: str
    checkpoint_every: int
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    loss: str = "cross_entropy"
    optimizer: str = "adam"


Figure = Any  # an array, on the devices or on the host


class Totals(NamedTuple):
    """Sums over what an epoch has trained on so far, each taken before its update.

    Attributes:
      losses: `[k]`, the cross-entropy of each head.
      correct: clips that the mean of the heads gets right.
      surest: `[k]`, clips of which this head is the most confident.
      clips: how many there were.
      gradient: the norms of the gradients of the updates.
      updates: how many there were.
    """

    losses: Figure
    correct: Figure
    surest: Figure
    clips: Figure
    gradient: Figure
    updates: Figure


class Call(NamedTuple):
    """Which steps of which epoch are done next, the same for every fold.

    Attributes:
      epoch: from 0.
      first: the first step.
      stop: the one after the last. Both may be any numbers without another compilation.
      rate: the learning rate.
    """

    epoch: Figure
    first: Figure
    stop: Figure
    rate: Figure


Weights = Float[Array, " n"] | None
Steps = Callable[..., tuple[State, Totals]]


def fold_steps(
    network: Network, directions: optax.GradientTransformation, view: View, loss_name: str
) -> Steps:
    """Some steps of an epoch of ONE fold; `parallel.over_folds` lifts them to all folds.

    Args:
      network: as pure functions.
      directions: gives updates that the learning rate has yet to scale.
      view: how the network sees a clip.
      loss_name: of `losses.LOSSES`.

    Returns:
      `(state, totals, schedule [step, b], weights, call, clips) -> (state, totals)`: the schedule
      of the whole epoch, the weights of the classes in the loss or None.
    """

    def update(
        state: State,
        totals: Totals,
        entries: Int[Array, " b"],
        weights: Weights,
        call: Call,
        step: Array,
        clips: Clips,
    ) -> tuple[State, Totals]:
        mask = entries >= 0
        # Under an empty slot lies a clip of the batch: 0 times what is not finite is not 0.
        clip, variant = jnp.divmod(
            jnp.maximum(jnp.where(mask, entries, entries[0]), 0), len(view.variants)
        )
        inputs, labels = view(clips, clip, variant), clips.labels[clip]
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), call.epoch)
        key = jax.random.fold_in(key, step)

        def loss(params):
            logits, stats = network.apply(params, state.stats, inputs, mask, True, key)
            head_losses = losses.LOSSES[loss_name](logits, labels, mask, weights)
            return jnp.sum(head_losses), (stats, logits, head_losses)

        grads, (stats, logits, head_losses) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt = directions.update(grads, state.opt, state.params)
        params = jax.tree.map(lambda p, u: p - call.rate * u, state.params, updates)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        # A step that must change nothing, an empty one or any after a failure, keeps the old
        # state: Adam moves even without a gradient, and the running statistics move towards those
        # of no clip.
        going = mask.any() & (state.failed[0] < 0)
        finite = jnp.isfinite(jnp.sum(head_losses)) & jnp.isfinite(norm)
        failed = jnp.where(going & ~finite, jnp.stack([call.epoch, step]), state.failed)
        moved = (
            State(params, stats, opt, state.key, state.failed),
            _add(totals, logits, labels, mask, head_losses, norm),
        )
        state, totals = _where(going & finite, moved, (state, totals))
        return state._replace(failed=failed), totals

    def steps(state: State, totals: Totals, schedule, weights, call: Call, clips: Clips):
        def body(step: Array, carry: tuple[State, Totals]) -> tuple[State, Totals]:
            state, totals = carry
            return update(state, totals, schedule[step], weights, call, step, clips)

        return jax.lax.fori_loop(call.first, call.stop, body, (state, totals))

    return steps


def _where(condition: Array, one, other):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def _add(totals: Totals, logits, labels, mask, head_losses, norm) -> Totals:
    """The totals with those of one update."""
    clips = jnp.sum(mask)
    probabilities = jax.nn.softmax(logits)
    correct = (jnp.argmax(jnp.mean(probabilities, axis=1), axis=-1) == labels) & mask
    surest = jnp.argmax(jnp.max(probabilities, axis=-1), axis=-1)
    chosen = jax.nn.one_hot(surest, logits.shape[1], dtype=jnp.int32) * mask[:, None]
    return Totals(
        totals.losses + clips * head_losses,
        totals.correct + jnp.sum(correct),
        totals.surest + jnp.sum(chosen, axis=0),
        totals.clips + clips,
        totals.gradient + norm,
        totals.updates + 1,
    )


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything that the training of a set of folds needs, except the clips.

    Attributes:
      network: pure functions of one fold.
      view: how the network sees a clip.
      folds: who trains on what, each seed's folds among them.
      settings: how.
      heads: of the network.
      classes: that it tells apart.
      mesh: the devices, along the fold axis.
      lift: 'vmap' or 'map'.
      slots: the length of the fold axis; folds that are not there are dummies.
      steps: the length of the schedule of an epoch; of rounds the longest has the say.
      batch_slots: the width of the schedule, of rounds the widest.
      weights: `[fold, class]` in the loss; None where all are 1.
    """

    network: Network
    view: View
    folds: Sequence[Fold]
    settings: Settings
    heads: int
    classes: int
    mesh: Mesh
    lift: str
    slots: int
    steps: int
    batch_slots: int
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, folds: Sequence[Fold], *, mesh: Mesh, settings: Settings, view: View, **others):
        """A trainer of all these folds at once."""
        how = settings.batch_size, len(view.variants), settings.augment
        return cls(
            folds=folds,
            mesh=mesh,
            settings=settings,
            view=view,
            slots=parallel.slots(len(folds), mesh),
            steps=folding.steps_per_epoch(folds, *how),
            batch_slots=folding.batch_slots(folds, *how),
            **others,
        )

    def rounds(self, at_once: int) -> list["Trainer"]:
        """Trainers of so many folds each, the last of the rest, all of the same shapes."""
        slots = parallel.slots(min(at_once, len(self.folds)), self.mesh)
        return [
            dataclasses.replace(
                self,
                folds=self.folds[first : first + at_once],
                weights=None if self.weights is None else self.weights[first : first + at_once],
                slots=slots,
            )
            for first in range(0, len(self.folds), at_once)
        ]

    def start(self) -> State:
        """The states of all folds before the first step, on their devices."""
        adam = self._optimizer()

        def create(origin: Int[Array, " 2"]) -> State:
            key = jax.random.fold_in(jax.random.key(origin[0]), origin[1])
            return states.create(self.network, adam, key)

        origins = np.array([[fold.seed, fold.key] for fold in self.folds], np.uint32)
        lifted = parallel.over_folds(create, self.mesh, self.lift, folded=1)
        return lifted(parallel.shard(parallel.pad_folds(origins, self.slots, 0), self.mesh))

    def no_totals(self) -> Totals:
        """The totals of all folds at the start of an epoch, on their devices."""
        totals = Totals(
            losses=np.zeros((self.slots, self.heads), np.float32),
            correct=np.zeros(self.slots, np.int32),
            surest=np.zeros((self.slots, self.heads), np.int32),
            clips=np.zeros(self.slots, np.int32),
            gradient=np.zeros(self.slots, np.float32),
            updates=np.zeros(self.slots, np.int32),
        )
        return parallel.shard(totals, self.mesh)

    def run(self, *, streamed: bool = False) -> Steps:
        """The jitted steps of all folds; state and totals are donated.

        Args:
          streamed: each device has clips of its own (see `feed`).
        """
        one = fold_steps(self.network, self._optimizer(), self.view, self.settings.loss)
        return parallel.over_folds(
            one, self.mesh, self.lift, folded=4, donated=2, spread=int(streamed)
        )

    def schedule(self, epoch: int) -> Int[np.ndarray, "slot step b"]:
        """The order of one epoch, its dummy folds and the steps of other rounds empty."""
        order = folding.epoch_schedule(
            self.folds,
            epoch=epoch,
            batch_size=self.settings.batch_size,
            variants=len(self.view.variants),
            mode=self.settings.augment,
            steps=self.steps,
            slots=self.batch_slots,
        )
        return parallel.pad_folds(order, self.slots, folding.EMPTY)

    def call(self, epoch: int, first: int, stop: int) -> Call:
        """Steps `first` to `stop` of an epoch, on the devices."""
        call = Call(np.int32(epoch), np.int32(first), np.int32(stop), np.float32(self.rate(epoch)))
        return parallel.replicate(call, self.mesh)

    def class_weights(self) -> Array | None:
        """`[slot, class]`, on the devices."""
        if self.weights is None:
            return None
        weights = self.weights.astype(np.float32)
        return parallel.shard(parallel.pad_folds(weights, self.slots, 1), self.mesh)

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        return schedules.learning_rate(
            epoch,
            base=self.settings.learning_rate,
            schedule=self.settings.schedule,
            epochs=self.settings.epochs,
            warmup=self.settings.warmup,
        )

    def updates_per_epoch(self) -> int:
        """The steps of the fold with the most clips."""
        return folding.steps_per_epoch(
            self.folds, self.settings.batch_size, len(self.view.variants), self.settings.augment
        )

    def parameters(self) -> int:
        """How many weights one fold's network has."""
        params, _ = jax.eval_shape(self.network.init, jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    def _optimizer(self) -> optax.GradientTransformation:
        return optimizer.make(self.settings.optimizer, self.settings.weight_decay)
