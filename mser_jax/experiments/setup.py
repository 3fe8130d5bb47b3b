"""Builders of the objects that train, from the configuration: folds, view, network, trainer."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from data_prep.common.errors import UserError
from mser_jax import parallel
from mser_jax.config import networks
from mser_jax.data import folds as folding
from mser_jax.data import protocols
from mser_jax.data.dataset import Dataset, StoredPixels
from mser_jax.data.feed import Feed, Resident
from mser_jax.data.folds import Fold
from mser_jax.data.stream import Streamed
from mser_jax.train import losses, throughput
from mser_jax.train.engine import Engine
from mser_jax.train.trainer import Settings, Trainer


def make_trainer(
    config: ConfigDict, dataset: Dataset, folds: Sequence[Fold] | None = None
) -> Trainer:
    """Make the trainer that a configuration describes, for a data set.

    Args:
      config: Configuration of the run.
      dataset: Clips.
      folds: Folds to train; by default all those of the protocol.

    Raises:
      UserError: The protocol does not suit the clips.
    """
    classes = len(dataset.class_names)
    folds = make_folds(config, dataset) if folds is None else folds
    return Trainer.create(
        folds,
        network=networks.network(config, classes),
        view=networks.view(config, _variants(config)),
        settings=Settings(
            epochs=config.train.epochs,
            batch_size=config.train.batch_size,
            learning_rate=config.train.learning_rate,
            augment=config.augment.mode,
            checkpoint_every=config.train.checkpoint_every,
            schedule=config.train.schedule,
            warmup=config.train.warmup,
            weight_decay=config.train.weight_decay,
            loss=config.train.loss,
            optimizer=config.train.optimizer,
        ),
        heads=networks.heads(config),
        classes=classes,
        mesh=parallel.mesh_for(len(folds)),
        lift=parallel.choose_lift(config.parallel.lift),
        weights=_class_weights(config.train.class_weights, dataset, folds),
    )


def _class_weights(kind: str, dataset: Dataset, folds: Sequence[Fold]) -> np.ndarray | None:
    """Return the weights of the classes in the loss of each fold; None for no weights.

    The weights of a fold depend on its own training clips alone.
    """
    if kind == "none":
        return None
    labels, classes = np.asarray(dataset.clips.labels), len(dataset.class_names)
    return np.stack([losses.balanced_class_weights(labels[fold.train], classes) for fold in folds])


def _variants(config: ConfigDict) -> tuple[str, ...]:
    """Return the names of the augmentation variants, 'original' first.

    The network is tested on the original of each clip.
    """
    if config.augment.mode == "none":
        return ("original",)
    others = [name for name in config.augment.variants if name != "original"]
    return ("original", *others)


def make_folds(config: ConfigDict, dataset: Dataset) -> list[Fold]:
    """Make the folds of the protocol, each with every seed.

    Args:
      config: Configuration of the run.
      dataset: Clips.

    Raises:
      UserError: The protocol does not suit the clips.
    """
    evaluation = config.evaluation
    if evaluation.protocol == "leave_one_sample_out":
        print(
            "Warning: leave-one-sample-out trains on other clips of the tested subject. Its "
            "scores are not comparable with LOSO."
        )
    folds = protocols.make_folds(
        evaluation.protocol,
        dataset,
        parts=evaluation.folds,
        held_out=evaluation.held_out,
        seed=config.seed,
    )
    return folding.replicate(folds, range(config.seed, config.seed + config.train.seeds))


def make_engine(
    config: ConfigDict, dataset: Dataset, trainer: Trainer, folder: Path, limit: int
) -> Engine:
    """Make the engine that trains all folds of a run and computes their logits.

    Args:
      config: Configuration of the run.
      dataset: Clips.
      trainer: Trainer of all folds.
      folder: Folder of the run.
      limit: Usable memory of a device, in bytes.
    """
    return Engine(
        trainer,
        make_feed(dataset, trainer, limit),
        dataset.names,
        f"{len(dataset.clip)} clips, {dataset.digest}",
        folder,
        config.train.checkpoints_kept,
    )


def make_feed(dataset: Dataset, trainer: Trainer, limit: int) -> Feed:
    """Make the feed of the clips: resident on the devices, or streamed from disk.

    Args:
      dataset: Clips.
      trainer: Trainer of all folds.
      limit: Usable memory of a device, in bytes.
    """
    pixels = dataset.clips.pixels
    if not isinstance(pixels, StoredPixels):
        return Resident(dataset.clips, trainer.mesh)
    clips_per_step = trainer.slots // trainer.mesh.devices.size * trainer.settings.batch_size
    capacity = max(
        clips_per_step, limit // 4 // (pixels.dtype.itemsize * math.prod(pixels.shape[1:]))
    )
    return Streamed(dataset.clips, trainer.mesh, min(capacity, pixels.shape[0]))


def training_options(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """Return the options of `Engine.train`, none of which changes what is trained."""
    return {
        "folds_per_device": config.parallel.folds_per_device,
        "flops_per_clip": _flops_per_clip(config, dataset),
        "dtype": config.model.get("dtype", "float32"),
        "inflated": config.report.inflated,
    }


def _flops_per_clip(config: ConfigDict, dataset: Dataset) -> float:
    """Compute the FLOPs of a training step per clip.

    A multiply-add counts as two, and the gradients cost twice the forward pass.
    """
    return throughput.TRAINING_FLOPS_PER_MAC * networks.multiply_adds(
        config, len(dataset.class_names)
    )


def warn_untrained_classes(dataset: Dataset, folds: Sequence[Fold]) -> None:
    """Print a warning for each fold that trains on no clip of some class.

    Its answer can never be right for the clips of that class.

    Args:
      dataset: Clips.
      folds: Folds to check; folds of the same name are checked once.
    """
    for fold in {fold.name: fold for fold in folds}.values():
        if absent := _absent_classes(dataset, fold.train):
            print(f"Warning: fold {fold.name} trains on no clip of class {', '.join(absent)}.")


def check_classes(dataset: Dataset, folds: Sequence[Fold]) -> None:
    """Raise UserError if a class has no test clip, and warn of untrained classes.

    UF1 and UAR need a test clip of every class; the check comes before the training rather than
    after it.

    Args:
      dataset: Clips.
      folds: Folds to check.

    Raises:
      UserError: A class has no test clip.
    """
    tested = np.concatenate([fold.test for fold in folds])
    if absent := _absent_classes(dataset, tested):
        raise UserError(
            f"No tested clip has the class {', '.join(absent)}, so UF1 and UAR would be "
            "undefined. Fix: prepare more clips, or use other classes (--config.data.classes)."
        )
    warn_untrained_classes(dataset, folds)


def _absent_classes(dataset: Dataset, clips: np.ndarray) -> list[str]:
    """Return the classes that none of the clips has."""
    counts = np.bincount(dataset.clips.labels[clips], minlength=len(dataset.class_names))
    return [name for name, count in zip(dataset.class_names, counts) if not count]
