"""The training of all folds of a run, in as many rounds as memory requires.

A round trains to its last epoch before the next one begins. Afterwards every fold is evaluated.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from humanize import naturalsize
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
      number: Number of the round, from 1.
      trainer: Trainer of these folds.
      checkpoints: Checkpoints of their states.
    """

    number: int
    trainer: Trainer
    checkpoints: Checkpoints

    @property
    def end_position(self) -> int:
        """Position (number of updates) of the checkpoint after the last epoch."""
        return self.trainer.settings.epochs * self.trainer.updates_per_epoch()

    def updates_left(self) -> int:
        """Return the number of updates that are not done yet."""
        return self.end_position - self.checkpoints.position()

    def restore(self) -> State:
        """Return the states after the last saved update."""
        start = self.trainer.init_state(), self.trainer.zero_metrics()
        return self.checkpoints.restore(start)[1][0]


@dataclasses.dataclass(frozen=True)
class Engine:
    """The training of a run, and the folder of its files.

    Attributes:
      trainer: Trainer of all folds.
      feed: Feed of the clips.
      clip_names: Name of each clip.
      clips_id: Identity of the clips; checkpoints of other clips are refused.
      folder: Folder of the run.
      max_to_keep: Number of checkpoints to keep per round, the newest ones.
    """

    trainer: Trainer
    feed: Feed
    clip_names: list[str]
    clips_id: str
    folder: Path
    max_to_keep: int

    def rounds(self) -> list[Round]:
        """Return the rounds planned when training began, or [] if it has not begun."""
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
        """Folder of the checkpoints of all rounds."""
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
        """Train every round that is not finished.

        No argument changes what is trained.

        Args:
          log: Log of the run.
          limit: Memory of a device that the run may use, bytes.
          folds_per_device: Number of folds that a device trains at once; 0 for as many as fit.
          flops_per_clip: Floating-point operations per clip of a training step; 0 if unknown.
          dtype: Type of the feature maps.
          inflated: Whether to also save the probabilities of the held-out clips after every epoch.

        Raises:
          KeyboardInterrupt: Ctrl-C or SIGTERM, after saving.
          UserError: Memory or disk space does not suffice, or every fold of the only round
            diverged.
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
        updates_left = [round_.updates_left() for round_ in rounds]
        self._check_disk_space(rounds, updates_left)
        writer = tensorboard.writer(self.folder / "tensorboard")
        evaluator = self._evaluator(rounds)
        for round_ in rounds:
            if updates_left[round_.number - 1]:
                monitor = Monitor(
                    log,
                    round_.trainer,
                    self.clip_names,
                    flops_per_clip=flops_per_clip,
                    peak_flops=peak,
                    round_number=round_.number,
                    rounds=len(rounds),
                    later_updates=sum(updates_left[round_.number :]),
                    writers=[writer] if hosts.is_first() else [],
                )
                # The fold of a final training has no test clips: there is nothing to save.
                save_held_out = inflated and round_.trainer.folds[0].test.size
                after_epoch = (
                    self._make_held_out_saver(round_, evaluator) if save_held_out else None
                )
                loop.train(
                    round_.trainer,
                    program.run,
                    self.feed,
                    round_.checkpoints,
                    monitor,
                    after_epoch,
                )
        writer.close()

    def _check_disk_space(self, rounds: Sequence[Round], updates_left: Sequence[int]) -> None:
        """Raise UserError if the disk cannot hold the remaining checkpoints."""
        todo = [round_ for round_ in rounds if updates_left[round_.number - 1]]
        if todo:
            carry = jax.eval_shape(todo[0].trainer.init_state), todo[0].trainer.zero_metrics()
            todo[0].checkpoints.check_disk_space(carry, len(todo))

    def _compile(self, folds_per_device: int, limit: int) -> tuple[Plan, Program]:
        """Return the plan of the run and the compiled steps of a round.

        A run that has checkpoints keeps the plan that it began with.
        """
        start = time.perf_counter()
        trainer = self.trainer
        print(
            f"Training {_format_fold_count(trainer)} on {trainer.mesh.devices.size} device(s), "
            f"{trainer.updates_per_epoch()} updates per epoch. Compiling ...",
            flush=True,
        )
        plan = Plan.read(self._plan_path)
        resumed = plan and any(round_.checkpoints.position() for round_ in self._rounds(plan))
        if plan and resumed:
            program = planning.compile_steps(self._rounds(plan)[0].trainer, self.feed)
        else:
            plan, program = planning.choose_plan(trainer, self.feed, folds_per_device, limit)
            if hosts.is_first():
                plan.write(self._plan_path)
        note = ", as when training began" if resumed else ""
        print(
            f"Compiled in {time.perf_counter() - start:.0f} s: {plan.at_once} folds at once "
            f"({plan.lift}){note}; {naturalsize(program.memory)} per device.",
            flush=True,
        )
        return plan, program

    def _make_held_out_saver(
        self, round_: Round, evaluator: Evaluator
    ) -> Callable[[int, State], None]:
        """Make a callback that saves the held-out probabilities after an epoch."""
        folder, evaluator = self.folder / "inflated", evaluator.for_trainer(round_.trainer)

        def save(epoch: int, state: State) -> None:
            logits = np.concatenate(evaluator.held_out_logits(state))
            if hosts.is_first():
                _save(folder / f"round-{round_.number}-epoch-{epoch}.npy", jax.nn.softmax(logits))

        return save

    def _evaluator(self, rounds: Sequence[Round]) -> Evaluator:
        max_test_clips = max(len(fold.test) for fold in self.trainer.folds)
        return Evaluator(rounds[0].trainer, self.feed, max_test_clips)

    def logits(self) -> Float[np.ndarray, "f clip k n"]:
        """Return each fold's logits of every clip after the last epoch.

        All logits of a fold are NaN if it failed or if any of them is not finite.
        """
        rounds, logits_of_rounds = self.rounds(), []
        evaluator = self._evaluator(rounds)
        for round_ in rounds:
            state = round_.restore()
            logits = evaluator.for_trainer(round_.trainer).logits(state, len(self.clip_names))
            failed = parallel.fetch(state.failed)[: len(logits), 0] >= 0
            logits[failed | ~np.isfinite(logits).all(axis=(1, 2, 3))] = np.nan
            logits_of_rounds.append(logits)
        return np.concatenate(logits_of_rounds)


def _save(path: Path, values: jax.Array) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.asarray(values))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error}). Fix: free disk space, then run the same command "
            "again. It resumes from the newest checkpoint."
        ) from error


def _format_fold_count(trainer: Trainer) -> str:
    seeds = len({fold.seed for fold in trainer.folds})
    per_seed = f" ({seeds} seeds of {len(trainer.folds) // seeds})" if seeds > 1 else ""
    count = len(trainer.folds)
    return f"{count} {'fold' if count == 1 else 'folds'}{per_seed}"
