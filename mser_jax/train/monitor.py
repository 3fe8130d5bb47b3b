"""Reports of a training while it runs, computed from the training clips alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data_prep.common import progress
from data_prep.common.errors import UserError
from mser_jax import hosts
from mser_jax.storage.log import Log
from mser_jax.storage.tensorboard import Writer
from mser_jax.train.step import StepMetrics
from mser_jax.train.trainer import Trainer

_BAR = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"


class Pace(NamedTuple):
    """Speed of an epoch.

    Attributes:
      updates: Updates of the epoch that were done since training started or resumed.
      seconds: Time that they took, s.
    """

    updates: int
    seconds: float


class Monitor:
    """The progress bar, the log and other reports of one round of folds.

    Args:
      log: Log that gets an 'epoch' event per epoch, and a 'diverged' event per fold that fails.
      trainer: Trainer of the round.
      clip_names: Name of each clip, for the report of a failure.
      flops_per_clip: Floating-point operations per clip of a training step; 0 if unknown.
      peak_flops: Floating-point operations per second that all devices reach; 0 if unknown.
      round_number: Number of the round, from 1.
      rounds: Number of rounds.
      later_updates: Number of updates of the rounds after this one.
      writers: Writers that get every epoch.
    """

    def __init__(
        self,
        log: Log,
        trainer: Trainer,
        clip_names: list[str],
        *,
        flops_per_clip: float = 0,
        peak_flops: float = 0,
        round_number: int = 1,
        rounds: int = 1,
        later_updates: int = 0,
        writers: Sequence[Writer] = (),
    ):
        self._log, self._trainer, self._clip_names, self._writers = (
            log,
            trainer,
            clip_names,
            writers,
        )
        self._flops, self._peak = flops_per_clip, peak_flops
        self._round_number, self._rounds, self._later_updates = round_number, rounds, later_updates
        self._title = f"Round {round_number}/{rounds}: " if rounds > 1 else ""
        self._bar = progress.counter(disable=True)

    def open_bar(self, position: int, end: int) -> Any:
        """Open the progress bar of the round.

        Args:
          position: Updates that are done.
          end: Updates of the whole round.
        """
        self._bar = progress.counter(
            total=end,
            desc=f"{self._title}Training",
            initial=position,
            ncols=79,
            bar_format=_BAR,
            disable=not hosts.is_first(),
        )
        return self._bar

    def report_epoch(
        self, epoch: int, metrics: StepMetrics, failed: np.ndarray, pace: Pace
    ) -> None:
        """Report a finished epoch.

        Args:
          epoch: Epoch, counted from 0.
          metrics: Metrics of all slots, on the host.
          failed: `State.failed` of all slots, `[slot, 2]`, on the host.
          pace: Speed of this epoch.

        Raises:
          UserError: Every fold of the run has failed, and the run has one round.
        """
        folds = len(self._trainer.folds)
        metrics, failed = StepMetrics(*(leaf[:folds] for leaf in metrics)), failed[:folds]
        self._report_failures(epoch, failed)
        event = self._event(epoch, metrics, failed[:, 0] >= 0, pace)
        self._log.write("epoch", **event)
        for writer in self._writers:
            writer.write(event)
        self._bar.set_description_str(
            f"{self._title}Epoch {event['epoch']}/{self._trainer.settings.epochs}, "
            f"{_format_summary(event)}"
        )

    def _report_failures(self, epoch: int, failed: np.ndarray) -> None:
        """Report each fold that failed in this epoch."""
        schedule = self._trainer.schedule(epoch)
        for slot in np.flatnonzero(failed[:, 0] == epoch).tolist():
            step = int(failed[slot, 1])
            clips = schedule.clip[slot, step][schedule.mask[slot, step]]
            fold = self._trainer.folds[slot]
            event = {"fold": fold.name, "seed": fold.seed, "epoch": epoch + 1, "step": step + 1}
            event["clips"] = [self._clip_names[clip] for clip in sorted({*clips.tolist()})]
            self._log.write("diverged", **event)
            progress.print_line(
                f"Diverged: fold {fold.title}, epoch {epoch + 1}, step {step + 1}, on clips "
                f"{', '.join(event['clips'])}. The fold keeps its state from before this step. "
                "Other folds go on."
            )
        # Folds of other rounds may still train.
        if (failed[:, 0] >= 0).all() and self._rounds == 1:
            raise UserError(
                "Every fold has diverged: a loss or gradient is not finite. Fix: use a smaller "
                "--config.train.learning_rate and another --workdir."
            )

    def _event(
        self, epoch: int, metrics: StepMetrics, failed: np.ndarray, pace: Pace
    ) -> dict[str, Any]:
        """Return the 'epoch' event; `loss` is the sum over the heads, as it is minimised."""
        active = ~failed
        clips, updates = np.maximum(metrics.clips, 1), np.maximum(metrics.updates, 1)
        by_fold = {
            "loss": metrics.losses.sum(axis=1) / clips,
            "accuracy": metrics.correct / clips,
            "gradient_norm": metrics.gradient / updates,
        }
        trainer = self._trainer
        per_epoch = trainer.updates_per_epoch()
        rate = metrics.clips.sum() * pace.updates / per_epoch / pace.seconds
        updates_left = (trainer.settings.epochs - epoch - 1) * per_epoch + self._later_updates
        most_confident = metrics.most_confident[active].sum(axis=0)
        return {
            "round": self._round_number,
            "epoch": epoch + 1,
            **{name: _mean(values[active]) for name, values in by_fold.items()},
            "learning_rate": trainer.learning_rate(epoch),
            **{f"fold_{name}": _values_or_none(values, failed) for name, values in by_fold.items()},
            "head_choice": (most_confident / max(most_confident.sum(), 1)).tolist(),
            "seconds": pace.seconds * per_epoch / pace.updates,
            "clips_per_second": float(rate),
            "fraction_of_peak": rate * self._flops / self._peak if self._peak else None,
            "seconds_left": updates_left * pace.seconds / pace.updates,
        }


def _format_summary(event: dict[str, Any]) -> str:
    if event["loss"] is None:
        return "every fold has diverged"
    return f"loss {event['loss']:.3f}, accuracy {event['accuracy']:.2f}"


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _values_or_none(values: np.ndarray, failed: np.ndarray) -> list[float | None]:
    return [None if bad else float(value) for value, bad in zip(values, failed)]
