"""The trainer of a set of folds: their states, schedules and lifted steps."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from mser_jax import parallel
from mser_jax.data import schedule
from mser_jax.data.augment import View
from mser_jax.data.folds import Fold
from mser_jax.data.schedule import Batch
from mser_jax.models.network import Network, count_parameters
from mser_jax.train import optimizer
from mser_jax.train import state as states
from mser_jax.train.state import State
from mser_jax.train.step import StepMetrics, StepRange, TrainSteps, make_train_steps


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a training; `mser_jax.config.defaults` explains each field."""

    epochs: int
    batch_size: int
    learning_rate: float
    augment: str
    checkpoint_every: int
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    loss: str = "cross_entropy"
    optimizer: str = "adam"


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything that the training of a set of folds needs, except the clips.

    Attributes:
      network: Network of one fold, as pure functions.
      view: View that turns clips into inputs of the network.
      folds: Folds to train, replicates of every seed included.
      settings: Settings of the training.
      heads: Number of heads of the network.
      classes: Number of classes.
      mesh: Mesh of the devices, along the fold axis.
      lift: 'vmap' or 'map'.
      slots: Length of the fold axis; dummy folds fill it up.
      steps: Number of steps in the schedule of an epoch, the maximum over all rounds.
      batch_slots: Number of slots of a batch in the schedule, the maximum over all rounds.
      weights: `[fold, class]`, weights of the classes in the loss; None if all are 1.
    """

    network: Network
    view: View
    folds: Sequence[Fold]
    settings: Settings
    heads: int
    classes: int
    mesh: Mesh
    lift: str
    slots: int
    steps: int
    batch_slots: int
    weights: np.ndarray | None = None

    @classmethod
    def create(cls, folds: Sequence[Fold], *, mesh: Mesh, settings: Settings, view: View, **fields):
        """Create a trainer that trains all these folds at once.

        Args:
          folds: Folds to train.
          mesh: Mesh from `parallel.fold_mesh`.
          settings: Settings of the training.
          view: View that turns clips into inputs of the network.
          **fields: Other fields of the trainer, except those that follow from the folds.
        """
        batching = settings.batch_size, len(view.variants), settings.augment
        return cls(
            folds=folds,
            mesh=mesh,
            settings=settings,
            view=view,
            slots=parallel.slots(len(folds), mesh),
            steps=schedule.steps_per_epoch(folds, *batching),
            batch_slots=schedule.batch_slots(folds, *batching),
            **fields,
        )

    def rounds(self, folds_per_round: int) -> list["Trainer"]:
        """Return the trainers of the rounds, all of the same shapes.

        Args:
          folds_per_round: Number of folds of each round; the last round has the rest.
        """
        slots = parallel.slots(min(folds_per_round, len(self.folds)), self.mesh)
        return [
            dataclasses.replace(
                self,
                folds=self.folds[first : first + folds_per_round],
                weights=None
                if self.weights is None
                else self.weights[first : first + folds_per_round],
                slots=slots,
            )
            for first in range(0, len(self.folds), folds_per_round)
        ]

    def init_state(self) -> State:
        """Return the states of all folds before the first step, on their devices."""
        transformation = self._optimizer()

        def create(seeds: Int[Array, " 2"]) -> State:
            key = jax.random.fold_in(jax.random.key(seeds[0]), seeds[1])
            return states.create(self.network, transformation, key)

        fold_seeds = np.array([[fold.seed, fold.key] for fold in self.folds], np.uint32)
        create_all = parallel.over_folds(create, self.mesh, self.lift, num_fold_args=1)
        return create_all(parallel.shard(parallel.pad_folds(fold_seeds, self.slots, 0), self.mesh))

    def zero_metrics(self) -> StepMetrics:
        """Return the metrics of all folds at the start of an epoch, on their devices."""
        metrics = StepMetrics(
            losses=np.zeros((self.slots, self.heads), np.float32),
            correct=np.zeros(self.slots, np.int32),
            most_confident=np.zeros((self.slots, self.heads), np.int32),
            clips=np.zeros(self.slots, np.int32),
            gradient=np.zeros(self.slots, np.float32),
            updates=np.zeros(self.slots, np.int32),
        )
        return parallel.shard(metrics, self.mesh)

    def train_steps(self, *, streamed: bool = False) -> TrainSteps:
        """Return the jitted steps of all folds; state and metrics are donated.

        Args:
          streamed: Whether each device has clips of its own (see `feed`).
        """
        fold_steps = make_train_steps(
            self.network, self._optimizer(), self.view, self.settings.loss
        )
        return parallel.over_folds(
            fold_steps,
            self.mesh,
            self.lift,
            num_fold_args=4,
            num_donated_args=2,
            num_sharded_args=int(streamed),
        )

    def schedule(self, epoch: int) -> Batch:
        """Return the batches `[slot, step, b]` of an epoch; dummy folds have empty ones."""
        batches = schedule.epoch_schedule(
            self.folds,
            epoch=epoch,
            batch_size=self.settings.batch_size,
            variants=len(self.view.variants),
            mode=self.settings.augment,
            steps=self.steps,
            slots=self.batch_slots,
        )
        return Batch(*(parallel.pad_folds(leaf, self.slots, 0) for leaf in batches))

    def step_range(self, epoch: int, first: int, stop: int) -> StepRange:
        """Return the steps `first` to `stop - 1` of an epoch, on the devices."""
        rate = np.float32(self.learning_rate(epoch))
        steps = StepRange(np.int32(epoch), np.int32(first), np.int32(stop), rate)
        return parallel.replicate(steps, self.mesh)

    def class_weights(self) -> Array | None:
        """Return the class weights `[slot, class]` on the devices, or None if all are 1."""
        if self.weights is None:
            return None
        weights = self.weights.astype(np.float32)
        return parallel.shard(parallel.pad_folds(weights, self.slots, 1), self.mesh)

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return optimizer.learning_rate(
            epoch,
            base=self.settings.learning_rate,
            schedule=self.settings.schedule,
            epochs=self.settings.epochs,
            warmup=self.settings.warmup,
        )

    def updates_per_epoch(self) -> int:
        """Return the number of updates per epoch of the fold with the most clips."""
        return schedule.steps_per_epoch(
            self.folds, self.settings.batch_size, len(self.view.variants), self.settings.augment
        )

    def parameter_count(self) -> int:
        """Count the parameters of one fold's network."""
        params, _ = jax.eval_shape(self.network.init, jax.random.key(0))
        return count_parameters(params)

    def _optimizer(self) -> optax.GradientTransformation:
        return optimizer.make(self.settings.optimizer, self.settings.weight_decay)
