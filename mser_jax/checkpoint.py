"""The states of all folds on disk (Orbax): the newest few, each whole or not there."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from data_prep.errors import UserError
from mser_jax.state import State

KEPT = 2


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of one run.

    Attributes:
      folder: where they lie.
      folds: the titles of the folds (name and seed), in the order of the states.
      clips: stands for the clips that the run trains on, and their labels.
    """

    folder: Path
    folds: Sequence[str]
    clips: str

    def epochs_done(self) -> int:
        """The epochs behind the newest checkpoint; 0 when there is none.

        Raises:
          UserError: the checkpoint is of other folds or other clips.
        """
        with self._open() as checkpointer:
            return self._newest(checkpointer)

    def path(self, epoch: int) -> Path:
        """The folder of one checkpoint."""
        return self.folder / str(epoch)

    def save(self, epoch: int, state: State) -> None:
        """Write the states after `epoch` epochs, then drop all but the newest `KEPT`.

        The dummy folds at the end are left out: another number of devices needs others.
        """
        real = jax.tree.map(lambda leaf: leaf[: len(self.folds)], state)
        with self._open() as checkpointer:
            checkpointer.save(epoch, real, custom_metadata=self._belongs(), overwrite=True)

    def restore(self, start: State) -> tuple[int, State]:
        """The newest checkpoint.

        Args:
          start: states of the same structure on the devices where they are wanted; its dummy folds
            are kept.

        Returns:
          The epochs done and the states after them; 0 and `start` when nothing was saved.

        Raises:
          UserError: the checkpoint is of other folds or other clips.
        """
        folds = len(self.folds)
        with self._open() as checkpointer:
            epoch = self._newest(checkpointer)
            if epoch == 0:
                return 0, start
            host = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
            wanted = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(
                    (folds, *leaf.shape[1:]), leaf.dtype, sharding=host
                ),
                start,
            )
            stored = checkpointer.load(epoch, wanted)
        return epoch, jax.tree.map(_with_dummies, stored, start)

    def _newest(self, checkpointer: ocp.training.Checkpointer) -> int:
        newest = checkpointer.latest
        if newest is None:
            return 0
        self._check(checkpointer.metadata(newest).custom_metadata or {})
        return newest.step

    def _belongs(self) -> dict:
        return {"folds": json.dumps(list(self.folds)), "clips": self.clips}

    def _check(self, stored: Any) -> None:
        for name, value in self._belongs().items():
            if stored.get(name) != value:
                raise UserError(
                    f"{self.folder}: these checkpoints are of other {name}:\n"
                    f"  theirs: {stored.get(name)}\n  now:    {value}\n"
                    "Remedy: give another --workdir, or remove this folder to train anew."
                )

    @contextlib.contextmanager
    def _open(self) -> Iterator[ocp.training.Checkpointer]:
        self.folder.mkdir(parents=True, exist_ok=True)
        newest: Any = ocp.training.preservation_policies.LatestN(KEPT)
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells each of its steps
        with ocp.training.Checkpointer(
            str(self.folder.resolve()), preservation_policy=newest
        ) as checkpointer:
            yield checkpointer


def _with_dummies(stored: jax.Array, start: jax.Array) -> jax.Array:
    """The stored folds, and after them the dummy ones of `start`, where `start` lies."""
    dummies = np.asarray(start[len(stored) :])
    return jax.device_put(np.concatenate([np.asarray(stored), dummies]), start.sharding)
