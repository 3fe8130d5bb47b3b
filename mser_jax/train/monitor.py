"""What a training says of itself while it runs, from the training clips alone."""

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
    """How fast an epoch went.

    Attributes:
      updates: that were done since the training was taken up, of the epoch.
      seconds: that they took.
    """

    updates: int
    seconds: float


class Monitor:
    """The bar, the log, and who else wants to know; of one round of folds.

    Args:
      log: gets an 'epoch' event an epoch, and a 'diverged' event for a fold that fails.
      trainer: of the round.
      names: of the clips, for what is said of a failure.
      flops_per_clip: of a training step; 0 when it is not known.
      peak_flops: of all devices; 0 when it is not known.
      number: of the round, from 1.
      rounds: how many there are.
      later: updates of the rounds after this one.
      writers: told of every epoch.
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
        """Open the bar of the round, in updates."""
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
        """Tell of an epoch that is through.

        Args:
          epoch: from 0.
          metrics: of all slots, on the host.
          failed: `[slot, 2]` of the states, on the host.
          pace: of this epoch.

        Raises:
          UserError: every fold of the run has failed, and this was its only round.
        """
        folds = len(self._trainer.folds)
        metrics, failed = StepMetrics(*(leaf[:folds] for leaf in metrics)), failed[:folds]
        self._report_failures(epoch, failed)
        event = self._event(epoch, metrics, failed[:, 0] >= 0, pace)
        self._log.write("epoch", **event)
        for writer in self._writers:
            writer.write(event)
        self._bar.set_description_str(
            f"{self._title}Epoch {event['epoch']}/{self._trainer.settings.epochs}, {_format_summary(event)}"
        )

    def _report_failures(self, epoch: int, failed: np.ndarray) -> None:
        """Each fold that failed in this epoch."""
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
                f"{', '.join(event['clips'])}. It stays as it was before; any others go on."
            )
        if (failed[:, 0] >= 0).all() and self._rounds == 1:  # the folds of other rounds go on
            raise UserError(
                "Every fold has diverged: loss or gradient is not finite. Fix: a smaller "
                "--config.train.learning_rate, and another --workdir."
            )

    def _event(
        self, epoch: int, metrics: StepMetrics, failed: np.ndarray, pace: Pace
    ) -> dict[str, Any]:
        """One line of the log; `loss` is the sum over the heads, as it is minimised."""
        active = ~failed
        clips, updates = np.maximum(metrics.clips, 1), np.maximum(metrics.updates, 1)
        by_fold = {
            "loss": metrics.losses.sum(axis=1) / clips,
            "accuracy": metrics.correct / clips,
            "gradient_norm": metrics.gradient / updates,
        }
        trainer = self._trainer
        planned = trainer.updates_per_epoch()
        rate = metrics.clips.sum() * pace.updates / planned / pace.seconds
        left = (trainer.settings.epochs - epoch - 1) * planned + self._later_updates
        confident = metrics.most_confident[active].sum(axis=0)
        return {
            "round": self._round_number,
            "epoch": epoch + 1,
            **{name: _mean(values[active]) for name, values in by_fold.items()},
            "learning_rate": trainer.learning_rate(epoch),
            **{f"fold_{name}": _values_or_none(values, failed) for name, values in by_fold.items()},
            "head_choice": (confident / max(confident.sum(), 1)).tolist(),
            "seconds": pace.seconds * planned / pace.updates,
            "clips_per_second": float(rate),
            "fraction_of_peak": rate * self._flops / self._peak if self._peak else None,
            "seconds_left": left * pace.seconds / pace.updates,
        }


def _format_summary(event: dict[str, Any]) -> str:
    if event["loss"] is None:
        return "every fold has diverged"
    return f"loss {event['loss']:.3f}, accuracy {event['accuracy']:.2f}"


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _values_or_none(values: np.ndarray, failed: np.ndarray) -> list[float | None]:
    return [None if bad else float(value) for value, bad in zip(values, failed)]
