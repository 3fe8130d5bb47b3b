"""The held-out predictions: each clip, seen by the fold that never saw its subject."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from mser_jax import folds as folding
from mser_jax import parallel
from mser_jax.augment import Clips, View
from mser_jax.data import Dataset
from mser_jax.models import Network
from mser_jax.state import State
from mser_jax.table import Predictions
from mser_jax.train import Trainer


def fold_logits(network: Network, view: View):
    """ONE fold's logits of a batch of clips: `(state, entries [b], clips) -> [b, k, n]`.

    The clips are seen as they are (variant 0), normalised by the running statistics.
    """

    def logits(state: State, entries: Int[Array, " b"], clips: Clips) -> Array:
        clip = jnp.maximum(entries, 0)
        inputs = view(clips, clip, jnp.zeros_like(clip))
        return network.apply(state.params, state.stats, inputs, None, False)[0]

    return logits


def all_logits(trainer: Trainer, state: State, clips: Clips) -> Float[np.ndarray, "f clip k n"]:
    """What every fold's network says of every clip, seen or not."""
    count, size = len(clips.labels), trainer.settings.batch_size
    entries = np.full((-(-count // size), size), folding.EMPTY, np.int32)
    entries.flat[:count] = np.arange(count)
    lifted = parallel.over_folds(
        fold_logits(trainer.network, trainer.view), trainer.mesh, trainer.lift, folded=1
    )
    bar = tqdm(entries, "Evaluating", unit="batch", ncols=79)
    logits = [jax.device_get(lifted(state, batch, clips)) for batch in bar]
    return np.concatenate(logits, axis=1)[: len(trainer.folds), :count]


def predictions(trainer: Trainer, logits: Float[np.ndarray, "f clip k n"], dataset: Dataset):
    """The table: for every fold its test clips, and its loss on its own training clips.

    Args:
      trainer: whose folds these are.
      logits: of `all_logits`.
      dataset: the clips and their names.

    Returns:
      `Predictions`, in the order of the folds: one seed after the other.
    """
    log_probabilities = np.asarray(jax.nn.log_softmax(logits))
    rows = np.concatenate([fold.test for fold in trainer.folds])
    fold_of_row = np.repeat(
        np.arange(len(trainer.folds)), [len(fold.test) for fold in trainer.folds]
    )
    labels = np.asarray(dataset.clips.labels)
    train_loss = np.stack(
        [
            -log_probabilities[slot, fold.train, :, labels[fold.train]].mean(axis=0)
            for slot, fold in enumerate(trainer.folds)
        ]
    )
    return Predictions(
        dataset=dataset.dataset[rows],
        subject=dataset.subject[rows],
        clip=dataset.clip[rows],
        seed=np.array([fold.seed for fold in trainer.folds])[fold_of_row],
        fold=np.array([fold.name for fold in trainer.folds])[fold_of_row],
        label=labels[rows],
        probabilities=np.exp(log_probabilities[fold_of_row, rows]),
        train_loss=train_loss[fold_of_row],
        class_names=dataset.class_names,
    )
