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


def open_checkpointer(
    folder: Path, max_to_keep: int, *, cleanup: bool
) -> ocp.training.Checkpointer:
    """Orbax over the checkpoints of a folder, to be closed.

    Args:
      folder: it is made if it is not there.
      max_to_keep: how many checkpoints stay when a new one is whole.
      cleanup: remove what a killed process left half-written.
    """
    for name in ("absl", "asyncio"):  # Orbax tells each step, and errors twice
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = ocp.Context()
    context.array.loading.enable_padding_and_truncation = True  # of dummy folds
    # Where a folder cannot be made, threads would wait for it for minutes.
    context.asynchronous.create_directories_asynchronously = False
    newest: Any = ocp.training.preservation_policies.LatestN(max_to_keep)
    return ocp.training.Checkpointer(
        str(folder.resolve()),
        context=context,
        preservation_policy=newest,
        cleanup_tmp_directories=cleanup,
    )


class Writer:
    """Writes to one folder. All errors but those of a disk are raised, at the latest by `finish`.

    Attributes:
      safe_position: the newest position that is whole, as far as is known; 0 when there is none.
      disk_error: what the disk said where it failed the last time; else None.
      orbax: open since the first `begin`.
    """

    def __init__(self, folder: Path, max_to_keep: int):
        self.safe_position = 0
        self.disk_error: str | None = None
        self.orbax: ocp.training.Checkpointer | None = None
        self._folder, self._max_to_keep = folder, max_to_keep
        self._writing: Future[None] | None = None

    def begin(
        self, position: int, tree: Tree, metadata: dict[str, Any], on_failure: Callable[[], None]
    ) -> None:
        """Copy a tree to the host, and leave it to a thread to see it written.

        Args:
          position: the checkpoint's name; one that is whole already is not written again.
          tree: its buffers may be donated on return.
          metadata: is kept with it, as JSON takes it.
          on_failure: is called if the disk fails, when it does.
        """
        self.finish()
        try:
            orbax = self._open_orbax()
            if position == self.safe_position:
                return
            response = orbax.save_async(position, tree, force=True, custom_metadata=metadata)
        except Exception as error:
            self._handle_failure(error, on_failure)
            self._close_orbax()
        else:
            executor = ThreadPoolExecutor(1)
            self._writing = executor.submit(self._await_save, response, position, on_failure)
            executor.shutdown(wait=False)

    def finish(self) -> None:
        """Wait for what is being written. After a failure Orbax begins anew from the disk."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()
            if self.disk_error:
                self._close_orbax()

    def close(self) -> None:
        """Finish, and let Orbax go."""
        try:
            self.finish()
        finally:
            self._close_orbax()

    def _open_orbax(self) -> ocp.training.Checkpointer:
        if self.orbax is None:
            _silence_closed_loop()
            self.orbax = open_checkpointer(self._folder, self._max_to_keep, cleanup=True)
            newest = self.orbax.latest
            self.safe_position = newest.step if newest else 0
        return self.orbax

    def _await_save(self, response: Any, position: int, on_failure: Callable[[], None]) -> None:
        """In the thread: wait for Orbax, so that a failure is told when it happens."""
        try:
            response.result()
        except Exception as error:
            self._handle_failure(error, on_failure)
        else:
            self.safe_position, self.disk_error = position, None

    def _handle_failure(self, error: Exception, on_failure: Callable[[], None]) -> None:
        fault = disk.error_message(error)
        if fault is None:
            raise error
        for half in self._folder.glob("*.orbax-checkpoint-tmp*"):  # it only takes room
            shutil.rmtree(half, ignore_errors=True)
        self.disk_error = fault
        on_failure()

    def _close_orbax(self) -> None:
        orbax, self.orbax = self.orbax, None
        if orbax:
            for end in (orbax.wait, orbax.close):
                with contextlib.suppress(Exception):  # what has been dealt with is raised again
                    end()


@functools.cache
def _silence_closed_loop() -> None:
    """After a failed write TensorStore's others find Orbax's loop closed; each would be printed."""
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook
