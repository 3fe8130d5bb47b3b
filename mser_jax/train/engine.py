"""All folds of a run: in as many rounds as memory asks for, each trained to its end, then asked."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from data_prep.common.errors import UserError
from mser_jax import hosts, parallel
from mser_jax.data.feed import Feed
from mser_jax.storage import tensorboard
from mser_jax.storage.checkpoints import Checkpoints
from mser_jax.storage.log import Log
from mser_jax.train import loop, planning, throughput
from mser_jax.train.evaluator import Evaluator
from mser_jax.train.monitor import Monitor
from mser_jax.train.planning import Plan, Program
from mser_jax.train.state import State
from mser_jax.train.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Round:
    """Folds that train at once.

    Attributes:
      number: from 1.
      trainer: of these folds.
      checkpoints: of their states.
    """

    number: int
    trainer: Trainer
    checkpoints: Checkpoints

    @property
    def end_position(self) -> int:
        """The position of the checkpoint after the last epoch."""
        return self.trainer.settings.epochs * self.trainer.updates_per_epoch()

    def updates_left(self) -> int:
        """Updates that are not done yet."""
        return self.end_position - self.checkpoints.position()

    def restore(self) -> State:
        """The states after the last update that was saved."""
        start = self.trainer.init_state(), self.trainer.zero_metrics()
        return self.checkpoints.restore(start)[1][0]


@dataclasses.dataclass(frozen=True)
class Engine:
    """The training of a run and where it keeps what it makes.

    Attributes:
      trainer: of all folds.
      feed: of the clips.
      clip_names: of the clips.
      clips_id: stands for the clips, so that checkpoints of others are refused.
      folder: of the run.
      max_to_keep: checkpoints of a round, the newest.
    """

    trainer: Trainer
    feed: Feed
    clip_names: list[str]
    clips_id: str
    folder: Path
    max_to_keep: int

    def rounds(self) -> list[Round]:
        """As they were planned when the training began; none when it has not."""
        plan = Plan.read(self._plan_path)
        return [] if plan is None else self._rounds(plan)

    def _rounds(self, plan: Plan) -> list[Round]:
        trainers = dataclasses.replace(self.trainer, lift=plan.lift).rounds(plan.at_once)
        return [
            Round(number, trainer, self._checkpoints(number, trainer))
            for number, trainer in enumerate(trainers, 1)
        ]

    def _checkpoints(self, number: int, trainer: Trainer) -> Checkpoints:
        return Checkpoints(
            self.checkpoint_folder / f"round-{number}",
            [fold.title for fold in trainer.folds],
            self.clips_id,
            max_to_keep=self.max_to_keep,
            updates_per_epoch=trainer.updates_per_epoch(),
        )

    @property
    def checkpoint_folder(self) -> Path:
        """Where the states are kept."""
        return self.folder / "checkpoints"

    @property
    def _plan_path(self) -> Path:
        return self.folder / "plan.json"

    def train(
        self,
        log: Log,
        *,
        limit: int,
        folds_per_device: int = 0,
        flops_per_clip: float = 0,
        dtype: str = "float32",
        inflated: bool = False,
    ) -> None:
        """Train every round that is not at its end; no argument changes what is trained.

        Args:
          log: of the run.
          limit: bytes of a device.
          folds_per_device: at once; 0 for as many as fit.
          flops_per_clip: of a training step; 0 when it is not known.
          dtype: of the maps.
          inflated: whether to keep what each epoch says of the held-out clips, too.

        Raises:
          KeyboardInterrupt: Ctrl-C or SIGTERM, after saving.
          UserError: memory does not suffice, or every fold diverged, if there is one round.
        """
        plan, program = self._compile(folds_per_device, limit)
        rounds = self._rounds(plan)
        mesh = self.trainer.mesh
        peak = throughput.peak_flops(mesh, dtype)
        log.write(
            "train",
            updates_per_epoch=self.trainer.updates_per_epoch(),
            parameters=self.trainer.parameter_count(),
            lift=plan.lift,
            devices=mesh.devices.size,
            folds_per_device=rounds[0].trainer.slots // mesh.devices.size,
            rounds=len(rounds),
            data="streamed" if self.feed.streamed else "resident",
            memory=program.memory,
            flops_per_clip=flops_per_clip,
            peak_flops=peak,
        )
        left = [each.updates_left() for each in rounds]
        self._check_disk_space(rounds, left)
        writer = tensorboard.writer(self.folder / "tensorboard")
        evaluator = self._evaluator(rounds)
        for each in rounds:
            if left[each.number - 1]:
                monitor = Monitor(
                    log,
                    each.trainer,
                    self.clip_names,
                    flops_per_clip=flops_per_clip,
                    peak_flops=peak,
                    round_number=each.number,
                    rounds=len(rounds),
                    later_updates=sum(left[each.number :]),
                    writers=[writer] if hosts.is_first() else [],
                )
                watched = inflated and each.trainer.folds[0].test.size  # else nothing is tested
                keep = self._make_held_out_saver(each, evaluator) if watched else None
                loop.train(each.trainer, program.run, self.feed, each.checkpoints, monitor, keep)
        writer.close()

    def _check_disk_space(self, rounds: Sequence[Round], updates_left: Sequence[int]) -> None:
        """Refuse a disk that has not the room for the checkpoints to come."""
        todo = [each for each in rounds if updates_left[each.number - 1]]
        if todo:
            carried = jax.eval_shape(todo[0].trainer.init_state), todo[0].trainer.zero_metrics()
            todo[0].checkpoints.check_disk_space(carried, len(todo))

    def _compile(self, folds_per_device: int, limit: int) -> tuple[Plan, Program]:
        """Return the plan of the run, made now or when it began, and the steps of a round."""
        began = time.perf_counter()
        of = self.trainer
        print(
            f"Training {_format_fold_count(of)} on {of.mesh.devices.size} device(s), "
            f"{of.updates_per_epoch()} updates an epoch; compiling ...",
            flush=True,
        )
        plan = Plan.read(self._plan_path)
        begun = plan and any(each.checkpoints.position() for each in self._rounds(plan))
        if plan and begun:
            program = planning.compile_steps(self._rounds(plan)[0].trainer, self.feed)
        else:
            plan, program = planning.choose_plan(of, self.feed, folds_per_device, limit)
            if hosts.is_first():
                plan.write(self._plan_path)
        kept = ", as the training began" * bool(begun)
        print(
            f"Compiled in {time.perf_counter() - began:.0f} s: {plan.at_once} folds at once "
            f"({plan.lift}){kept}; {program.memory / 1e9:.2f} GB of a device.",
            flush=True,
        )
        return plan, program

    def _make_held_out_saver(
        self, round_: Round, evaluator: Evaluator
    ) -> Callable[[int, State], None]:
        """Keeps what an epoch's networks say of the clips that they never saw."""
        folder, evaluator = self.folder / "inflated", evaluator.for_trainer(round_.trainer)

        def keep(epoch: int, state: State) -> None:
            said = np.concatenate(evaluator.held_out_logits(state))
            if hosts.is_first():
                _save(folder / f"round-{round_.number}-epoch-{epoch}.npy", jax.nn.softmax(said))

        return keep

    def _evaluator(self, rounds: Sequence[Round]) -> Evaluator:
        most = max(len(fold.test) for fold in self.trainer.folds)
        return Evaluator(rounds[0].trainer, self.feed, most)

    def logits(self) -> Float[np.ndarray, "f clip k n"]:
        """What each fold's network says of every clip after the last epoch; NaN where it failed."""
        rounds, said = self.rounds(), []
        evaluator = self._evaluator(rounds)
        for each in rounds:
            state = each.restore()
            logits = evaluator.for_trainer(each.trainer).logits(state, len(self.clip_names))
            failed = parallel.fetch(state.failed)[: len(logits), 0] >= 0
            logits[failed | ~np.isfinite(logits).all(axis=(1, 2, 3))] = np.nan
            said.append(logits)
        return np.concatenate(said)


def _save(path: Path, values: jax.Array) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.asarray(values))
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error}. Fix: free space, then run the same command "
            "again: it goes on from the newest checkpoint."
        ) from error


def _format_fold_count(trainer: Trainer) -> str:
    seeds = len({fold.seed for fold in trainer.folds})
    each = f" ({seeds} seeds of {len(trainer.folds) // seeds})" if seeds > 1 else ""
    count = len(trainer.folds)
    return f"{count} fold{'s' * (count != 1)}{each}"
