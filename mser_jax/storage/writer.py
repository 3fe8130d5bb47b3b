"""One checkpoint at a time written behind the training by Orbax, on disks that may fail."""

import contextlib
import functools
import logging
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orbax.checkpoint import v1 as ocp

from mser_jax.storage import disk

Tree = Any


def open_folder(folder: Path, kept: int, *, tidy: bool) -> ocp.training.Checkpointer:
    """Orbax over the checkpoints of a folder, to be closed.

    Args:
      folder: it is made if it is not there.
      kept: how many checkpoints stay when a new one is whole.
      tidy: remove what a killed process left half-written.
    """
    for name in ("absl", "asyncio"):  # Orbax tells each step, and errors twice
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = ocp.Context()
    context.array.loading.enable_padding_and_truncation = True  # of dummy folds
    # Where a folder cannot be made, threads would wait for it for minutes.
    context.asynchronous.create_directories_asynchronously = False
    newest: Any = ocp.training.preservation_policies.LatestN(kept)
    return ocp.training.Checkpointer(
        str(folder.resolve()),
        context=context,
        preservation_policy=newest,
        cleanup_tmp_directories=tidy,
    )


class Writer:
    """Writes to one folder. All errors but those of a disk are raised, at the latest by `finish`.

    Attributes:
      safe: the newest position that is whole, as far as is known; 0 when there is none.
      fault: what the disk said where it failed the last time; else None.
      orbax: open since the first `begin`.
    """

    def __init__(self, folder: Path, kept: int):
        self.safe = 0
        self.fault: str | None = None
        self.orbax: ocp.training.Checkpointer | None = None
        self._folder, self._kept = folder, kept
        self._writing: Future[None] | None = None

    def begin(
        self, position: int, tree: Tree, notes: dict[str, Any], failed: Callable[[], None]
    ) -> None:
        """Copy a tree to the host, and leave it to a thread to see it written.

        Args:
          position: the checkpoint's name; one that is whole already is not written again.
          tree: its buffers may be donated on return.
          notes: is kept with it, as JSON takes it.
          failed: is called if the disk fails, when it does.
        """
        self.finish()
        try:
            orbax = self._opened()
            if position == self.safe:
                return
            response = orbax.save_async(position, tree, force=True, custom_metadata=notes)
        except Exception as error:
            self._failed(error, failed)
            self._drop()
        else:
            executor = ThreadPoolExecutor(1)
            self._writing = executor.submit(self._see, response, position, failed)
            executor.shutdown(wait=False)

    def finish(self) -> None:
        """Wait for what is being written. After a failure Orbax begins anew from the disk."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()
            if self.fault:
                self._drop()

    def close(self) -> None:
        """Finish, and let Orbax go."""
        try:
            self.finish()
        finally:
            self._drop()

    def _opened(self) -> ocp.training.Checkpointer:
        if self.orbax is None:
            _hush()
            self.orbax = open_folder(self._folder, self._kept, tidy=True)
            newest = self.orbax.latest
            self.safe = newest.step if newest else 0
        return self.orbax

    def _see(self, response: Any, position: int, failed: Callable[[], None]) -> None:
        """In the thread: wait for Orbax, so that a failure is told when it happens."""
        try:
            response.result()
        except Exception as error:
            self._failed(error, failed)
        else:
            self.safe, self.fault = position, None

    def _failed(self, error: Exception, failed: Callable[[], None]) -> None:
        fault = disk.fault(error)
        if fault is None:
            raise error
        for half in self._folder.glob("*.orbax-checkpoint-tmp*"):  # it only takes room
            shutil.rmtree(half, ignore_errors=True)
        self.fault = fault
        failed()

    def _drop(self) -> None:
        orbax, self.orbax = self.orbax, None
        if orbax:
            for end in (orbax.wait, orbax.close):
                with contextlib.suppress(Exception):  # what has been dealt with is raised again
                    end()


@functools.cache
def _hush() -> None:
    """After a failed write TensorStore's others find Orbax's loop closed; each would be printed."""
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook
