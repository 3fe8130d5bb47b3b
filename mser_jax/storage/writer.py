"""A background writer of checkpoints by Orbax, one at a time, on disks that may fail."""

import contextlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orbax.checkpoint import v1 as ocp

from mser_jax.storage import disk

Tree = Any


def open_checkpointer(
    folder: Path, max_to_keep: int, *, cleanup: bool
) -> ocp.training.Checkpointer:
    """Open Orbax's checkpointer on a folder; the caller closes it.

    Args:
      folder: Folder of the checkpoints. It is created if it does not exist.
      max_to_keep: Number of checkpoints that remain when a new one is complete.
      cleanup: Whether to remove half-written checkpoints that a killed process left.
    """
    for name in ("absl", "asyncio"):  # Orbax logs every step, and errors twice.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = ocp.Context()
    # The number of dummy folds, and with it the first axis, depends on the devices.
    context.array.loading.enable_padding_and_truncation = True
    # If a folder cannot be created, Orbax's threads would wait for it for minutes.
    context.asynchronous.create_directories_asynchronously = False
    newest: Any = ocp.training.preservation_policies.LatestN(max_to_keep)
    return ocp.training.Checkpointer(
        str(folder.resolve()),
        context=context,
        preservation_policy=newest,
        cleanup_tmp_directories=cleanup,
    )


class Writer:
    """A writer to one folder. Errors other than a disk's are raised, by `finish` at the latest.

    Attributes:
      safe_position: Newest position known to be complete, or 0 if there is none.
      disk_error: Message of the disk error if the last write failed, else None.
      orbax: Checkpointer, opened by the first `begin`; None before it and after a failure.
    """

    def __init__(self, folder: Path, max_to_keep: int):
        self.safe_position = 0
        self.disk_error: str | None = None
        self.orbax: ocp.training.Checkpointer | None = None
        self._folder, self._max_to_keep = folder, max_to_keep
        self._writing: Future[None] | None = None
        self._silence = contextlib.ExitStack()

    def begin(
        self, position: int, tree: Tree, metadata: dict[str, Any], on_failure: Callable[[], None]
    ) -> None:
        """Copy a tree to the host and start writing it in the background.

        A thread waits for the write to end.

        Args:
          position: Name of the checkpoint. The newest complete one is not written again.
          tree: Tree to write. Its buffers may be donated on return.
          metadata: JSON values to store with the checkpoint.
          on_failure: Callback that is called at once if the disk fails.
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
        """Wait for the pending write; after a failure, close Orbax, which `begin` reopens."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()
            if self.disk_error:
                self._close_orbax()

    def close(self) -> None:
        """Wait for the pending write and close Orbax."""
        try:
            self.finish()
        finally:
            self._close_orbax()
            self._silence.close()

    def _open_orbax(self) -> ocp.training.Checkpointer:
        if self.orbax is None:
            self._silence.close()
            self._silence.enter_context(_silenced_closed_loop())
            self.orbax = open_checkpointer(self._folder, self._max_to_keep, cleanup=True)
            newest = self.orbax.latest
            self.safe_position = newest.step if newest else 0
        return self.orbax

    def _await_save(self, response: Any, position: int, on_failure: Callable[[], None]) -> None:
        """Wait for Orbax in the thread, so that a failure is reported when it happens."""
        try:
            response.result()
        except Exception as error:
            self._handle_failure(error, on_failure)
        else:
            self.safe_position, self.disk_error = position, None

    def _handle_failure(self, error: Exception, on_failure: Callable[[], None]) -> None:
        message = disk.error_message(error)
        if message is None:
            raise error
        # A half-written checkpoint cannot be used and only takes space.
        for unfinished in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        self.disk_error = message
        on_failure()

    def _close_orbax(self) -> None:
        orbax, self.orbax = self.orbax, None
        if orbax:
            for end in (orbax.wait, orbax.close):
                # Orbax raises again the errors that have been handled already.
                with contextlib.suppress(Exception):
                    end()


@contextlib.contextmanager
def _silenced_closed_loop() -> Iterator[None]:
    """Silence the errors that follow a failed write.

    TensorStore's other writes find Orbax's event loop closed, and each error would be printed.
    """
    original_hook = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            original_hook(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        if sys.unraisablehook is hook:
            sys.unraisablehook = original_hook
