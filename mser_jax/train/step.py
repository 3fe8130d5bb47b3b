"""The training step, written for one fold. `parallel.over_folds` lifts it to all folds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mser_jax.data.augment import Clips, View
from mser_jax.data.schedule import Batch
from mser_jax.models.network import Network
from mser_jax.train import losses
from mser_jax.train.state import State

Value = Any  # an array, on the devices or on the host


class StepMetrics(NamedTuple):
    """Metrics summed over the updates that an epoch has made so far.

    Each update adds values that were measured before it changed the weights.

    Attributes:
      losses: `[k]`, loss of each head, summed over the clips.
      correct: Number of clips that the mean of the heads classifies correctly.
      most_confident: `[k]`, number of clips for which this head is the most confident one.
      clips: Number of clips.
      gradient: Sum of the norms of the gradients.
      updates: Number of updates.
    """

    losses: Value
    correct: Value
    most_confident: Value
    clips: Value
    gradient: Value
    updates: Value


class StepRange(NamedTuple):
    """Steps of an epoch to do next, the same for every fold.

    Attributes:
      epoch: Epoch, counted from 0.
      first: First step.
      stop: Step after the last one. No values of `first` and `stop` need another compilation.
      learning_rate: Learning rate of the epoch.
    """

    epoch: Value
    first: Value
    stop: Value
    learning_rate: Value


Weights = Float[Array, " n"] | None
TrainSteps = Callable[..., tuple[State, StepMetrics]]


def make_train_steps(
    network: Network, optimizer: optax.GradientTransformation, view: View, loss_name: str
) -> TrainSteps:
    """Make the function that trains ONE fold for some steps of an epoch.

    Args:
      network: Network as pure functions.
      optimizer: Optimiser whose updates are not yet multiplied by the learning rate.
      view: View that turns clips into inputs of the network.
      loss_name: Key of `losses.LOSSES`.

    Returns:
      `(state, metrics, schedule, class_weights, steps, clips) -> (state, metrics)`. The schedule
      is a `Batch` `[step, b]` of the whole epoch. The class weights are `[n]` or None.
    """

    def train_step(
        state: State,
        batch: Batch,
        clips: Clips,
        class_weights: Weights,
        learning_rate: Array,
        key: Array,
    ) -> tuple[State, StepMetrics]:
        inputs = view(clips, batch.clip, batch.variant)
        labels = jnp.asarray(clips.labels)[batch.clip]

        def loss_fn(params):
            logits, batch_stats = network.apply(
                params, state.batch_stats, inputs, batch.mask, True, key
            )
            head_losses = losses.LOSSES[loss_name](logits, labels, batch.mask, class_weights)
            return jnp.sum(head_losses), (batch_stats, logits, head_losses)

        grads, (batch_stats, logits, head_losses) = jax.grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = jax.tree.map(lambda p, u: p - learning_rate * u, state.params, updates)
        metrics = _measure(logits, labels, batch.mask, head_losses, optax.tree.norm(grads))
        updated = state._replace(params=params, batch_stats=batch_stats, opt_state=opt_state)
        return updated, metrics

    def train_steps(
        state: State,
        metrics: StepMetrics,
        schedule: Batch,
        class_weights: Weights,
        steps: StepRange,
        clips: Clips,
    ) -> tuple[State, StepMetrics]:
        epoch_key = jax.random.fold_in(jax.random.wrap_key_data(state.key), steps.epoch)

        def body(step: Array, carry: tuple[State, StepMetrics]) -> tuple[State, StepMetrics]:
            state, metrics = carry
            batch = jax.tree.map(lambda leaf: leaf[step], schedule)
            key = jax.random.fold_in(epoch_key, step)
            updated, measured = train_step(
                state, batch, clips, class_weights, steps.learning_rate, key
            )
            # An empty step, and any step after a failure, must change nothing and keeps the old
            # state. Otherwise Adam would move without a gradient, and the running statistics would
            # move towards those of no clip.
            active = batch.mask.any() & (state.failed[0] < 0)
            finite = jnp.isfinite(measured.losses).all() & jnp.isfinite(measured.gradient)
            failed = jnp.where(active & ~finite, jnp.stack([steps.epoch, step]), state.failed)
            summed = jax.tree.map(jnp.add, metrics, measured)
            state, metrics = _tree_where(active & finite, (updated, summed), carry)
            return state._replace(failed=failed), metrics

        return jax.lax.fori_loop(steps.first, steps.stop, body, (state, metrics))

    return train_steps


def _tree_where(condition: Array, if_true, if_false):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def _measure(logits, labels, mask, head_losses, norm) -> StepMetrics:
    """Measure one update; `losses` is each head's mean loss times the number of clips."""
    clips = jnp.sum(mask)
    probabilities = jax.nn.softmax(logits)
    correct = (jnp.argmax(jnp.mean(probabilities, axis=1), axis=-1) == labels) & mask
    head = jnp.argmax(jnp.max(probabilities, axis=-1), axis=-1)
    most_confident = jax.nn.one_hot(head, logits.shape[1], dtype=jnp.int32) * mask[:, None]
    return StepMetrics(
        losses=clips * head_losses,
        correct=jnp.sum(correct),
        most_confident=jnp.sum(most_confident, axis=0),
        clips=clips,
        gradient=norm,
        updates=1,
    )
