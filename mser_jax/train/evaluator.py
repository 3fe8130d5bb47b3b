"""The held-out predictions: each clip, seen by the fold that never saw its subject."""

import copy
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from mser_jax import hosts, parallel
from mser_jax.data import schedule
from mser_jax.data.augment import Clips, View
from mser_jax.data.feed import Feed
from mser_jax.models import Network
from mser_jax.train.state import State
from mser_jax.train.trainer import Trainer


def fold_logits(network: Network, view: View):
    """ONE fold's logits of a batch of clips: `(state, entries [b], clips) -> [b, k, n]`.

    The clips are seen as they are (variant 0), normalised by the running statistics.
    """

    def logits(state: State, entries: Int[Array, " b"], clips: Clips) -> Array:
        clip = jnp.maximum(entries, 0) // len(view.variants)
        inputs = view(clips, clip, jnp.zeros_like(clip))
        return network.apply(state.params, state.stats, inputs, None, False)[0]

    return logits


class Answers:
    """What the networks of a trainer's folds say of clips; compiled once.

    Args:
      trainer: of the folds.
      feed: of the clips.
      most: test clips that a fold of any round has, so that one program serves all; by default
        that of this trainer's.
    """

    def __init__(self, trainer: Trainer, feed: Feed, most: int = 0):
        self._trainer, self._feed = trainer, feed
        self._most = most or max(len(fold.test) for fold in trainer.folds)
        self._lifted = parallel.over_folds(
            fold_logits(trainer.network, trainer.view),
            trainer.mesh,
            trainer.lift,
            folded=2,
            spread=int(feed.streamed),
        )

    def alike(self, trainer: Trainer) -> "Answers":
        """What the folds of another round say, by the same compiled program."""
        other = copy.copy(self)
        other._trainer = trainer
        return other

    def of_all(self, state: State, count: int) -> Float[np.ndarray, "f clip k n"]:
        """What every fold's network says of every clip, seen or not; of all `count` of them."""
        every = np.arange(count)
        logits = self._of(state, [every] * len(self._trainer.folds), "Evaluating", count)
        return np.stack(logits)

    def of_held_out(self, state: State) -> list[Float[np.ndarray, "clip k n"]]:
        """What every fold's network says of its test clips."""
        return self._of(state, [fold.test for fold in self._trainer.folds], "", self._most)

    def _of(
        self, state: State, clips: Sequence[np.ndarray], title: str, most: int
    ) -> list[np.ndarray]:
        """`clips`: of each fold, `most` in one at most; without a title there is no bar."""
        of, size = self._trainer, min(self._trainer.settings.batch_size, most)
        steps = max(-(-len(each) // size) for each in clips)
        entries = np.full((of.slots, steps, size), schedule.EMPTY, np.int32)
        for slot, each in enumerate(clips):
            entries[slot].flat[: len(each)] = each * len(of.view.variants)
        logits = []
        silent = not (title and hosts.is_first())
        with tqdm(total=steps, desc=title, unit="batch", ncols=79, disable=silent) as bar:
            for window in self._feed.windows(entries, 0, steps):
                for step in range(window.first, window.stop):
                    batch = window.schedule[:, step]
                    logits.append(parallel.fetch(self._lifted(state, batch, window.clips)))
                    bar.update()
        by_fold = np.concatenate(logits, axis=1)
        return [said[: len(each)] for said, each in zip(by_fold, clips)]
