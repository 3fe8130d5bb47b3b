"""Logits of clips from the network of every fold; nothing is augmented or trained here."""

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
    """Make the function that returns ONE fold's logits `[b, k, n]` of a batch.

    Clips are not augmented (variant 0), and batch normalisation uses the running statistics.
    """

    def fold_logits(state: State, batch: Batch, clips: Clips) -> Array:
        inputs = view(clips, batch.clip, jnp.zeros_like(batch.clip))
        return network.apply(state.params, state.batch_stats, inputs, None, False)[0]

    return fold_logits


class Evaluator:
    """Logits of clips from the networks of a trainer's folds, by one compiled program.

    Args:
      trainer: Trainer of the folds.
      feed: Feed of the clips.
      max_test_clips: Maximum number of test clips of a fold in any round, so that one program
        serves all rounds; 0 for the maximum over this trainer's folds.
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
        """Return an evaluator for the folds of `trainer` that shares this one's program."""
        evaluator = copy.copy(self)
        evaluator._trainer = trainer
        return evaluator

    def logits(self, state: State, count: int) -> Float[np.ndarray, "f clip k n"]:
        """Return every fold's logits of all clips, its training clips included.

        Args:
          state: States of all folds.
          count: Number of clips.
        """
        all_clips = np.arange(count)
        logits = self._logits_by_fold(
            state, [all_clips] * len(self._trainer.folds), "Evaluating", count
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
          state: States of all folds.
          clips: Clip indices of each fold, at most `max_clips` per fold.
          title: Title of the progress bar; '' shows no bar.
          max_clips: Maximum number of clips of a fold, which also limits the size of a batch.
        """
        size = min(self._trainer.settings.batch_size, max_clips)
        batches = self._batches(clips, size)
        steps, logits_of_steps = batches.clip.shape[1], []
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
                    logits_of_steps.append(
                        parallel.fetch(self._logits_fn(state, batch, window.clips))
                    )
                    bar.update()
        by_fold = np.concatenate(logits_of_steps, axis=1)
        return [logits[: len(fold_clips)] for logits, fold_clips in zip(by_fold, clips)]

    def _batches(self, clips: Sequence[np.ndarray], size: int) -> Batch:
        """Put the clips of each fold into batches of `size`, in their order."""
        steps = max(-(-len(fold_clips) // size) for fold_clips in clips)
        batches = schedule.empty_batches(self._trainer.slots, steps, size)
        for slot, fold_clips in enumerate(clips):
            for step, first in enumerate(range(0, len(fold_clips), size)):
                clip = fold_clips[first : first + size]
                schedule.fill_batch(batches, (slot, step), clip, np.zeros_like(clip))
        return batches
