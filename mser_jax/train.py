"""Training: one fold's epoch, written once, and what runs every fold's epoch together."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from mser_jax import folds as folding
from mser_jax import losses, parallel
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


class Progress(NamedTuple):
    """What an epoch, or one step of it, says of itself, before the parameters moved.

    Attributes:
      losses: `[k]`, the cross-entropy of each head, mean over the clips.
      accuracy: the share of clips that the mean of the heads gets right.
      clips: how many there were.
    """

    losses: Float[Array, " k"]
    accuracy: Float[Array, ""]
    clips: Int[Array, ""]


Epoch = Callable[[State, Int[Array, "step b"], Clips], tuple[State, Progress]]


def fold_epoch(network: Network, optimizer: optax.GradientTransformation, view: View) -> Epoch:
    """One epoch of ONE fold, a scan over its steps; `parallel.over_folds` lifts it to all."""

    def step(state: State, entries: Int[Array, " b"], clips: Clips) -> tuple[State, Progress]:
        mask = entries >= 0
        clip, variant = jnp.divmod(jnp.maximum(entries, 0), len(view.variants))
        inputs, labels = view(clips, clip, variant), clips.labels[clip]

        def loss(params):
            logits, stats = network.apply(params, state.stats, inputs, mask, True)
            head_losses = losses.head_losses(logits, labels, mask)
            return jnp.sum(head_losses), (stats, logits, head_losses)

        grads, (stats, logits, head_losses) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt = optimizer.update(grads, state.opt, state.params)
        moved = State(optax.apply_updates(state.params, updates), stats, opt)
        # An empty step must change nothing: Adam moves even without a gradient, and the running
        # statistics move towards those of no clip.
        kept = jax.tree.map(lambda new, old: jnp.where(mask.any(), new, old), moved, state)
        return kept, Progress(head_losses, _accuracy(logits, labels, mask), jnp.sum(mask))

    def epoch(state: State, schedule: Int[Array, "step b"], clips: Clips):
        state, steps = jax.lax.scan(lambda s, entries: step(s, entries, clips), state, schedule)
        return state, _summary(steps)

    return epoch


def _accuracy(logits: Array, labels: Array, mask: Array) -> Array:
    answer = jnp.argmax(jnp.mean(jax.nn.softmax(logits), axis=1), axis=-1)
    return jnp.sum((answer == labels) & mask) / jnp.maximum(jnp.sum(mask), 1)


def _summary(steps: Progress) -> Progress:
    """The means over the clips of an epoch; empty steps weigh nothing."""
    clips = jnp.sum(steps.clips)
    weights = steps.clips / jnp.maximum(clips, 1)
    losses_ = jnp.sum(jnp.where(weights[:, None] > 0, steps.losses * weights[:, None], 0), axis=0)
    return Progress(losses_, jnp.sum(steps.accuracy * weights), clips)


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything that the training of a set of folds needs, and where it keeps what it makes.

    Attributes:
      network: pure functions of one fold.
      view: how the network sees a clip.
      folds: who trains on what, each seed's folds among them.
      settings: how.
      mesh: the devices, along the fold axis.
      lift: 'vmap' or 'map'.
    """

    network: Network
    view: View
    folds: Sequence[Fold]
    settings: Settings
    mesh: Mesh
    lift: str

    def start(self) -> State:
        """The states of all folds before the first step, on their devices."""
        optimizer = self._optimizer()

        def create(origin: Int[Array, " 2"]) -> State:
            key = jax.random.fold_in(jax.random.key(origin[0]), origin[1])
            return states.create(self.network, optimizer, key)

        origins = np.array([[fold.seed, fold.key] for fold in self.folds], np.uint32)
        lifted = parallel.over_folds(create, self.mesh, self.lift, folded=1)
        return lifted(parallel.shard(parallel.pad_folds(origins, self.mesh, 0), self.mesh))

    def epoch(self) -> Callable[[State, Array, Clips], tuple[State, Progress]]:
        """The compiled epoch of all folds: `(states, schedule [fold, step, b], clips)`."""
        one = fold_epoch(self.network, self._optimizer(), self.view)
        return parallel.over_folds(one, self.mesh, self.lift, folded=2, donate=True)

    def schedule(self, epoch: int) -> jax.Array:
        """The order of one epoch, `[fold, step, b]`, on the devices."""
        order = folding.epoch_schedule(
            self.folds,
            epoch=epoch,
            batch_size=self.settings.batch_size,
            variants=len(self.view.variants),
            mode=self.settings.augment,
        )
        return parallel.shard(parallel.pad_folds(order, self.mesh, folding.EMPTY), self.mesh)

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
        return optax.adam(self.settings.learning_rate)
