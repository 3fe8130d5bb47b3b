"""Training curves for TensorBoard, written if the package `tensorboard` is installed.

The records are written directly, because TensorBoard's own writer loads TensorFlow if that is
installed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping
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
    """Create a writer of event files, or one that does nothing without `tensorboard`.

    Args:
      folder: Folder for `tensorboard --logdir`, created at the first epoch. If folds train in
        rounds, each round is a run in it, the first one 'round-1'.
    """
    if not importlib.util.find_spec("tensorboard"):
        return _NullWriter()
    try:
        return _EventWriter(Path(folder))
    except Exception as error:  # No error of this package may stop a training.
        print(
            f"tensorboard: the package cannot be loaded ({error}). This run writes no curves for "
            "TensorBoard."
        )
        return _NullWriter()


class _NullWriter:
    def write(self, epoch: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class _EventWriter:
    """A writer of one event file per round. After a disk error it writes nothing more."""

    def __init__(self, folder: Path):
        self._folder, self._failed = folder, False
        self._files: dict[str, _EventFile] = {}
        self._proto = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self._records = importlib.import_module("tensorboard.summary.writer.record_writer")

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
        self._files[run].write(epoch["epoch"], dict(_scalars(epoch)))

    def _open_file(self, folder: Path, first_epoch: int) -> _EventFile:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names.
        path = folder / f"events.out.tfevents.{time.time_ns()}"
        file = _EventFile(self._records.RecordWriter(path.open("xb")), self._proto.Event)
        file.write_event(file_version="brain.Event:2")
        # START makes TensorBoard discard what an earlier run wrote for this and later epochs.
        file.write_event(step=first_epoch, session_log={"status": self._proto.SessionLog.START})
        return file


class _EventFile:
    """An event file. An event is in the file when the call returns."""

    def __init__(self, records: Any, event_type: Callable):
        self._records, self._event_type = records, event_type

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        values = [{"tag": tag, "simple_value": value} for tag, value in scalars.items()]
        self.write_event(step=step, summary={"value": values})

    def close(self) -> None:
        self._records.close()

    def write_event(self, **fields: Any) -> None:
        event = self._event_type(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())
        self._records.flush()


def _scalars(epoch: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in _SCALARS:
        if epoch.get(name) is not None:
            yield name, epoch[name]
    for head, share in enumerate(epoch.get("head_choice") or (), 1):
        yield f"head_choice/{head}", share
