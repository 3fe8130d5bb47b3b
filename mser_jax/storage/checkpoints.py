"""The states of all folds on disk: written behind the training, the newest few kept, each whole.

Orbax writes them: every process its own shards, into a folder that gets its name when all is there.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from data_prep.common.errors import UserError
from mser_jax import hosts
from mser_jax.storage import disk, identity
from mser_jax.storage.writer import Writer, open_checkpointer

PATIENCE, PAUSE = 600.0, 15.0  # seconds: how long a disk is waited for, and between two tries
_METADATA_BYTES = 2048  # bytes that Orbax notes of each array

Tree = Any


@dataclasses.dataclass
class Checkpoints:
    """Checkpoints of one training, or of one round of it.

    A checkpoint is known by its position: how many updates are behind it. `save` wants to be within
    `with`, whose end waits for what is being written; `position` and `restore` need none.

    Attributes:
      folder: where they lie.
      folds: the titles of the folds (name and seed), in the order of the states.
      clips_id: stands for the clips that the run trains on, and their labels.
      max_to_keep: how many; an older one goes when a newer one is whole.
      updates_per_epoch: of a fold, to tell positions as epochs.
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
        """The folder of one checkpoint."""
        return self.folder / str(position)

    def position(self) -> int:
        """The position of the newest whole checkpoint; 0 when there is none.

        Raises:
          UserError: it is of another format or version, of other folds or other clips, or cannot be
        read.
        """
        with self._open_orbax() as orbax:
            return self._newest_position(orbax)

    def restore(self, start: Tree) -> tuple[int, Tree]:
        """The newest checkpoint.

        Args:
          start: a tree of the same structure. Its shapes (with the dummy folds that the devices
            want) and shardings are those of the result.

        Returns:
          The position and the tree there; 0 and `start` when nothing was saved. Dummy folds hold
          what was saved of dummy folds, or zeros.

        Raises:
          UserError: it is another training's (as in `position`), of another network or optimiser,
            or cannot be read.
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
        """Find out before the training whether its checkpoints can be written.

        Args:
          tree: what will be saved, or its shapes and types.
          rounds_left: how many are still to be trained, this one among them.

        Raises:
          UserError: the folder cannot be written, or there is not the room for all that are kept
            and the one that is being written.
        """
        count = self.max_to_keep * rounds_left + 1
        there = disk.folder_size(self.folder) if self.folder.is_dir() else 0
        what = f"{count} checkpoints of {disk.format_size(_size(tree))}"
        disk.check_space(self.folder, count * _size(tree) - there, what)

    def save(self, position: int, tree: Tree, wait: bool = False) -> None:
        """Save what a training carries from call to call.

        On return the tree is copied to the host, and its buffers may be donated; the writing goes
        on behind. That a disk failed is told once on the screen, and the next checkpoint is the
        next try. What is saved already is not saved again.

        Args:
          position: how many updates are behind the tree.
          tree: its leaves have a leading fold axis, spread over the devices.
          wait: return when it is on disk, and try again for ten minutes while the disk fails.

        Raises:
          UserError: with `wait`, the disk went on failing; the message says what is safe.
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

        def failed() -> None:
            if not silent:
                _print_message(
                    f"{self._failure_message(position, size)}. The next checkpoint is the next try."
                )

        self._writer.begin(position, tree, identity.describe(self.folds, self.clips_id), failed)

    def _wait_for_disk(self, position: int, size: int, seconds_left: float) -> None:
        trouble = self._failure_message(position, size)
        if seconds_left <= 0:
            raise UserError(
                f"{trouble}. Fix: free space, then run the same command again: it goes on there."
            )
        _print_message(f"{trouble}. Free space, or Ctrl-C. Trying again for {seconds_left:.0f} s.")
        time.sleep(min(PAUSE, seconds_left))

    def _failure_message(self, position: int, size: int) -> str:
        free = disk.free_space(self.folder)
        room = "" if free is None else f", {disk.format_size(free)} are free"
        safe = self._writer.safe_position
        return (
            f"{self.folder}: {self.format_position(position)} cannot be saved: {self._writer.disk_error} "
            f"({disk.format_size(size)} are needed{room}); "
            + (f"{self.format_position(safe)} is safe" if safe else "nothing is saved yet")
        )

    def format_position(self, position: int) -> str:
        """A position as epochs: 'epoch 3 and 5 updates'."""
        epoch, updates = divmod(position, self.updates_per_epoch)
        return f"epoch {epoch}" + f" and {updates} updates" * bool(updates)

    @contextlib.contextmanager
    def _open_orbax(self) -> Iterator[ocp.training.Checkpointer | None]:
        """Orbax over the folder; None where there is no folder."""
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
                raise ValueError("it does not say whose it is")
            identity.check(self.folder, stored, identity.describe(self.folds, self.clips_id))
        return newest.step

    @contextlib.contextmanager
    def _read_errors_as_user_errors(self, position: int) -> Iterator[None]:
        """What reading a checkpoint raises, told as what it means: it is not whole."""
        try:
            yield
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{self.path(position)} cannot be read: {_first_line(error)}. Fix: remove this "
                "folder; the same command then goes on from the checkpoint before it."
            ) from error


def _abstract_array(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _size(tree: Tree) -> int:
    """Bytes of a checkpoint: Orbax's compression gains little on weights."""
    return sum(leaf.size * leaf.dtype.itemsize + _METADATA_BYTES for leaf in jax.tree.leaves(tree))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _print_message(message: str) -> None:
    print(f"\n{message}", file=sys.stderr, flush=True)
