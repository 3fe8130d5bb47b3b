"""The loop over epochs: progress, log, checkpoints, and stopping without loss."""

import time

import jax
import numpy as np
from tqdm import tqdm

from mser_jax.augment import Clips
from mser_jax.checkpoint import Checkpoints
from mser_jax.interrupt import Interrupt
from mser_jax.logs import Log
from mser_jax.state import State
from mser_jax.train import Progress, Trainer


def train(trainer: Trainer, clips: Clips, checkpoints: Checkpoints, log: Log) -> State:
    """Train every fold to the last epoch, from the newest checkpoint if there is one.

    Args:
      trainer: what to train.
      clips: on every device of the trainer's mesh.
      checkpoints: where the states are kept.
      log: gets one 'epoch' event an epoch.

    Returns:
      The states of all folds after the last epoch; dummy folds at the end.

    Raises:
      KeyboardInterrupt: Ctrl-C or SIGTERM; the last finished epoch has been saved.
    """
    state = trainer.start()
    done, state = checkpoints.restore(state)
    epochs = trainer.settings.epochs
    if done == epochs:
        return state
    run = _compile(trainer, state, clips)
    bar = tqdm(range(done, epochs), "Training", epochs, initial=done, unit="epoch", ncols=79)
    with Interrupt("the present epoch") as interrupt, bar:
        for epoch in bar:
            began = time.perf_counter()
            state, progress = run(state, trainer.schedule(epoch), clips)
            event = _event(epoch + 1, jax.device_get(progress), len(trainer.folds), began)
            log.write("epoch", **event)
            bar.set_postfix(loss=f"{event['loss']:.3f}", accuracy=f"{event['accuracy']:.2f}")
            last = epoch + 1 == epochs or interrupt.asked
            if last or (epoch + 1) % trainer.settings.checkpoint_every == 0:
                checkpoints.save(epoch + 1, state)
            if interrupt.asked:
                raise KeyboardInterrupt
    return state


def _compile(trainer: Trainer, state: State, clips: Clips):
    """Compile before the first step, so that the bar's estimate is of epochs alone."""
    began = time.perf_counter()
    print(
        f"Training {_counted(trainer)} at once ({trainer.lift}, "
        f"{trainer.mesh.devices.size} device(s)), {trainer.updates_per_epoch()} updates an epoch; "
        "compiling ...",
        flush=True,
    )
    compiled = trainer.epoch().lower(state, trainer.schedule(0), clips).compile()
    print(f"Compiled in {time.perf_counter() - began:.0f} s.", flush=True)
    return compiled


def _counted(trainer: Trainer) -> str:
    seeds = len({fold.seed for fold in trainer.folds})
    each = f" ({seeds} seeds of {len(trainer.folds) // seeds})" if seeds > 1 else ""
    return f"{len(trainer.folds)} folds{each}"


def _event(epoch: int, progress: Progress, folds: int, began: float) -> dict:
    """One line of the log; `loss` is the sum over the heads, as it is minimised."""
    fold_loss = np.sum(progress.losses[:folds], axis=1)
    seconds = time.perf_counter() - began
    return {
        "epoch": epoch,
        "loss": float(np.mean(fold_loss)),
        "accuracy": float(np.mean(progress.accuracy[:folds])),
        "fold_loss": [float(loss) for loss in fold_loss],
        "fold_accuracy": [float(accuracy) for accuracy in progress.accuracy[:folds]],
        "seconds": seconds,
        "clips_per_second": float(np.sum(progress.clips[:folds])) / seconds,
    }
