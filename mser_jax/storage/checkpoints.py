"""Checkpoints of the states of all folds, written in the background; the newest few are kept.

Orbax writes them. Every process writes its own shards. A checkpoint's folder gets its final name
only when the checkpoint is complete.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from humanize import naturalsize
from orbax.checkpoint import v1 as ocp

from data_prep.common.errors import UserError
from mser_jax import hosts
from mser_jax.storage import disk, identity
from mser_jax.storage.writer import Writer, open_checkpointer

# Seconds: how long `save(wait=True)` retries on a failing disk, and the pause between two attempts.
PATIENCE, PAUSE = 600.0, 15.0
_METADATA_BYTES = 2048  # bytes that Orbax writes about each array

Tree = Any


@dataclasses.dataclass
class Checkpoints:
    """Checkpoints of one training, or of one round of it.

    A checkpoint is identified by its position: the number of updates done before it. Call `save`
    inside a `with` block, whose end waits for the pending write. `position` and `restore` need no
    `with` block.

    Attributes:
      folder: Folder of the checkpoints.
      folds: Titles of the folds (name and seed), in the order of the states.
      clips_id: Identifier of the clips that the run trains on, and of their labels.
      max_to_keep: Number of checkpoints to keep. The oldest is removed when a new one is complete.
      updates_per_epoch: Updates of a fold in one epoch. Messages give positions as epochs.
    """

    folder: Path
    folds: Sequence[str]
    clips_id: str
    max_to_keep: int = 2
    updates_per_epoch: int = 1

    def __post_init__(self):
        self._writer = Writer(self.folder, self.max_to_keep)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def path(self, position: int) -> Path:
        """Return the folder of one checkpoint."""
        return self.folder / str(position)

    def position(self) -> int:
        """Return the position of the newest complete checkpoint, or 0 if there is none.

        Raises:
          UserError: If the checkpoint has another format or version, is of other folds or other
            clips, or cannot be read.
        """
        with self._open_orbax() as orbax:
            return self._newest_position(orbax)

    def restore(self, start: Tree) -> tuple[int, Tree]:
        """Restore the newest checkpoint.

        Args:
          start: Tree of the same structure. The result has its shapes (with the dummy folds that
            fill up the devices) and its shardings.

        Returns:
          The position and the tree saved there; 0 and `start` if nothing was saved. Dummy folds
          hold what was saved for dummy folds, or zeros.

        Raises:
          UserError: If the checkpoint is of another training (as in `position`) or of another
            network or optimiser, or cannot be read.
        """
        with self._open_orbax() as orbax:
            position = self._newest_position(orbax)
            if not orbax or not position:
                return 0, start
            with self._read_errors_as_user_errors(position):
                stored = identity.array_specs(orbax.metadata(position).metadata)
                if not stored:
                    raise ValueError("none of its arrays can be read")
                identity.check(
                    self.folder, {"arrays": stored}, {"arrays": identity.array_specs(start)}
                )
                return position, orbax.load(position, jax.tree.map(_abstract_array, start))

    def check_disk_space(self, tree: Tree, rounds_left: int = 1) -> None:
        """Check before the training that its checkpoints can be written.

        Args:
          tree: Tree to be saved, or its shapes and types.
          rounds_left: Rounds still to be trained, the present one included.

        Raises:
          UserError: If the folder cannot be written, or the disk lacks the space for all
            checkpoints that are kept and the one being written.
        """
        count = self.max_to_keep * rounds_left + 1
        used = disk.folder_size(self.folder) if self.folder.is_dir() else 0
        contents = f"{count} checkpoints of {naturalsize(_size(tree))}"
        disk.check_space(self.folder, count * _size(tree) - used, contents)

    def save(self, position: int, tree: Tree, wait: bool = False) -> None:
        """Save the state of a training.

        On return the tree is copied to the host, and its buffers may be donated; the write
        continues in the background. If the disk fails, a message is printed once, and the next
        checkpoint is the next attempt. A position that is saved already is not saved again.

        Args:
          position: Number of updates done.
          tree: State to save. Its leaves have a leading fold axis, sharded over the devices.
          wait: Whether to return only when the checkpoint is on disk. If the disk fails, the write
            is then retried for ten minutes.

        Raises:
          UserError: With `wait`, if the disk keeps failing. The message names the last position
            that is safe.
        """
        deadline = time.monotonic() + PATIENCE
        self._begin(position, tree, print_failure=not wait)
        while wait:
            self._writer.finish()
            if self._writer.safe_position == position:
                return
            self._wait_for_disk(position, _size(tree), deadline - time.monotonic())
            self._begin(position, tree, print_failure=False)

    def _begin(self, position: int, tree: Tree, print_failure: bool) -> None:
        self._writer.finish()
        size, silent = _size(tree), self._writer.disk_error or not print_failure

        def on_failure() -> None:
            if not silent:
                _print_message(
                    f"{self._failure_message(position, size)}. The next attempt is at the next "
                    "checkpoint."
                )

        self._writer.begin(position, tree, identity.describe(self.folds, self.clips_id), on_failure)

    def _wait_for_disk(self, position: int, size: int, seconds_left: float) -> None:
        message = self._failure_message(position, size)
        if seconds_left <= 0:
            raise UserError(
                f"{message}. Fix: free space, then run the same command again to continue."
            )
        _print_message(
            f"{message}. Free space, or press Ctrl-C. Retrying for {seconds_left:.0f} s."
        )
        time.sleep(min(PAUSE, seconds_left))

    def _failure_message(self, position: int, size: int) -> str:
        free = disk.free_space(self.folder)
        free_text = "" if free is None else f", {naturalsize(free)} free"
        safe_position = self._writer.safe_position
        return (
            f"{self.folder}: {self.format_position(position)} cannot be saved: "
            f"{self._writer.disk_error} ({naturalsize(size)} needed{free_text}); "
            + (
                f"{self.format_position(safe_position)} is safe"
                if safe_position
                else "nothing is saved yet"
            )
        )

    def format_position(self, position: int) -> str:
        """Return a position as epochs, such as 'epoch 3 and 5 updates'."""
        epoch, updates = divmod(position, self.updates_per_epoch)
        return f"epoch {epoch} and {updates} updates" if updates else f"epoch {epoch}"

    @contextlib.contextmanager
    def _open_orbax(self) -> Iterator[ocp.training.Checkpointer | None]:
        """Open Orbax on the folder, or yield None if the folder does not exist."""
        self._writer.finish()
        if self._writer.orbax or not hosts.broadcast(self.folder.is_dir()):
            yield self._writer.orbax
        else:
            with open_checkpointer(self.folder, self.max_to_keep, cleanup=False) as orbax:
                yield orbax

    def _newest_position(self, orbax: ocp.training.Checkpointer | None) -> int:
        newest = orbax.latest if orbax else None
        if orbax is None or newest is None:
            return 0
        with self._read_errors_as_user_errors(newest.step):
            stored = orbax.metadata(newest).custom_metadata
            if not isinstance(stored, dict) or not stored:
                raise ValueError("it does not record which training it is of")
            identity.check(self.folder, stored, identity.describe(self.folds, self.clips_id))
        return newest.step

    @contextlib.contextmanager
    def _read_errors_as_user_errors(self, position: int) -> Iterator[None]:
        """Convert errors of reading a checkpoint to UserErrors: it is incomplete."""
        try:
            yield
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{self.path(position)}: cannot be read ({_first_line(error)}). Fix: remove this "
                "folder. The same command then continues from the previous checkpoint."
            ) from error


def _abstract_array(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _size(tree: Tree) -> int:
    """Estimate a checkpoint's bytes: Orbax's compression gains little on weights."""
    return sum(leaf.size * leaf.dtype.itemsize + _METADATA_BYTES for leaf in jax.tree.leaves(tree))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _print_message(message: str) -> None:
    print(f"\n{message}", file=sys.stderr, flush=True)
