"""Training curves for TensorBoard, written if the package `tensorboardX` is installed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

_SCALARS = (
    *("loss", "accuracy", "gradient_norm", "learning_rate"),
    *("clips_per_second", "fraction_of_peak"),
)


class Writer(Protocol):
    """A writer that receives each epoch of a training when it ends."""

    def write(self, epoch: Mapping[str, Any]) -> None:
        """Write one epoch event as in the log (`mser_jax.storage.history`)."""

    def close(self) -> None:
        """Close the open files."""


def writer(folder: Path) -> Writer:
    """Create a writer of event files, or one that does nothing without `tensorboardX`.

    Args:
      folder: Folder for `tensorboard --logdir`, created at the first epoch. If folds train in
        rounds, each round is a run in it, the first one 'round-1'.
    """
    if not importlib.util.find_spec("tensorboardX"):
        return _NullWriter()
    try:
        return _EventWriter(Path(folder))
    except Exception as error:  # No error of this package may stop a training.
        print(
            f"tensorboardX: the package cannot be loaded ({error}). This run writes no curves for "
            "TensorBoard."
        )
        return _NullWriter()


class _NullWriter:
    def write(self, epoch: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class _EventWriter:
    """A writer of one event file per round. After a disk error it writes nothing more.

    It uses the synchronous writer below tensorboardX's `SummaryWriter`, whose thread would end at
    a disk error and then block the training when its queue is full.
    """

    def __init__(self, folder: Path):
        self._folder, self._failed = folder, False
        self._files: dict[str, Any] = {}
        self._proto: Any = importlib.import_module("tensorboardX.proto.event_pb2")
        self._library: Any = importlib.import_module("tensorboardX.event_file_writer")

    def write(self, epoch: Mapping[str, Any]) -> None:
        if self._failed:
            return
        try:
            self._append(epoch)
        except OSError as error:
            self._failed = True
            print(
                f"\n{self._folder}: cannot be written ({error.strerror}). This run writes no more "
                "curves for TensorBoard. log.jsonl has the same values.",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):  # A write that failed has been reported already.
                file.close()

    def _append(self, epoch: Mapping[str, Any]) -> None:
        run = f"round-{epoch['round']}" if "round" in epoch else "."
        if run not in self._files:
            self._files[run] = self._open_file(self._folder / run, epoch["epoch"])
        values = [{"tag": tag, "simple_value": value} for tag, value in _scalars(epoch)]
        self._write_event(self._files[run], epoch["epoch"], summary={"value": values})

    def _open_file(self, folder: Path, first_epoch: int) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names, which hold the second.
        file = self._library.EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        # START makes TensorBoard discard what an earlier run wrote for this and later epochs.
        self._write_event(file, first_epoch, session_log={"status": self._proto.SessionLog.START})
        return file

    def _write_event(self, file: Any, step: int, **fields: Any) -> None:
        """Write an event, which is in the file when the call returns."""
        file.write_event(self._proto.Event(wall_time=time.time(), step=step, **fields))
        file.flush()


def _scalars(epoch: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in _SCALARS:
        if epoch.get(name) is not None:
            yield name, epoch[name]
    for head, share in enumerate(epoch.get("head_choice") or (), 1):
        yield f"head_choice/{head}", share
