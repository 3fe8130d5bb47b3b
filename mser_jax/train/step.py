"""Training: one fold's steps, written once, and what runs every fold's steps together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mser_jax.data.augment import Clips, View
from mser_jax.models import Network
from mser_jax.train import losses
from mser_jax.train.state import State

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
