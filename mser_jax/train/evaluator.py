"""The logits of clips by the network of every fold, seen as they are and never trained on here."""

import copy
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data_prep.common import progress
from mser_jax import hosts, parallel
from mser_jax.data import schedule
from mser_jax.data.augment import Clips, View
from mser_jax.data.feed import Feed
from mser_jax.data.schedule import Batch
from mser_jax.models.network import Network
from mser_jax.train.state import State
from mser_jax.train.trainer import Trainer


def make_fold_logits(network: Network, view: View) -> Callable[[State, Batch, Clips], Array]:
    """Make the function that gives ONE fold's logits `[b, k, n]` of a batch of clips.

    The clips are seen as they are (variant 0), normalised by the running statistics.
    """

    def fold_logits(state: State, batch: Batch, clips: Clips) -> Array:
        inputs = view(clips, batch.clip, jnp.zeros_like(batch.clip))
        return network.apply(state.params, state.batch_stats, inputs, None, False)[0]

    return fold_logits


class Evaluator:
    """The logits of clips by the networks of a trainer's folds; compiled once.

    Args:
      trainer: of the folds.
      feed: of the clips.
      most: test clips that a fold of any round has, so that one program serves all; by default
        those of this trainer's folds.
    """

    def __init__(self, trainer: Trainer, feed: Feed, max_test_clips: int = 0):
        self._trainer, self._feed = trainer, feed
        self._max_test_clips = max_test_clips or max(len(fold.test) for fold in trainer.folds)
        self._logits_fn = parallel.over_folds(
            make_fold_logits(trainer.network, trainer.view),
            trainer.mesh,
            trainer.lift,
            num_fold_args=2,
            num_sharded_args=int(feed.streamed),
        )

    def for_trainer(self, trainer: Trainer) -> "Evaluator":
        """Return the evaluator of another round's folds, with the same compiled program."""
        other = copy.copy(self)
        other._trainer = trainer
        return other

    def logits(self, state: State, count: int) -> Float[np.ndarray, "f clip k n"]:
        """Return every fold's logits of all `count` clips, seen in training or not."""
        every = np.arange(count)
        logits = self._logits_by_fold(
            state, [every] * len(self._trainer.folds), "Evaluating", count
        )
        return np.stack(logits)

    def held_out_logits(self, state: State) -> list[Float[np.ndarray, "clip k n"]]:
        """Return every fold's logits of its test clips."""
        return self._logits_by_fold(
            state, [fold.test for fold in self._trainer.folds], "", self._max_test_clips
        )

    def _logits_by_fold(
        self, state: State, clips: Sequence[np.ndarray], title: str, max_clips: int
    ) -> list[np.ndarray]:
        """Return the logits of the clips of each fold.

        Args:
          state: of all folds.
          clips: of each fold, at most `max_clips` of them.
          title: of the bar; '' shows none.
          max_clips: clips of any fold, which sets the size of a batch.
        """
        size = min(self._trainer.settings.batch_size, max_clips)
        batches = self._batches(clips, size)
        steps, logits = batches.clip.shape[1], []
        bar = progress.counter(
            total=steps,
            desc=title,
            unit="batch",
            ncols=79,
            disable=not (title and hosts.is_first()),
        )
        with bar:
            for window in self._feed.windows(batches, 0, steps):
                for step in range(window.first, window.stop):
                    batch = Batch(*(leaf[:, step] for leaf in window.schedule))
                    logits.append(parallel.fetch(self._logits_fn(state, batch, window.clips)))
                    bar.update()
        by_fold = np.concatenate(logits, axis=1)
        return [own[: len(asked)] for own, asked in zip(by_fold, clips)]

    def _batches(self, clips: Sequence[np.ndarray], size: int) -> Batch:
        """Put the clips of each fold into batches of `size`, in their order."""
        steps = max(-(-len(own) // size) for own in clips)
        batches = schedule.empty_batches(self._trainer.slots, steps, size)
        for slot, own in enumerate(clips):
            for step, first in enumerate(range(0, len(own), size)):
                part = own[first : first + size]
                schedule.fill_batch(batches, (slot, step), part, np.zeros_like(part))
        return batches
