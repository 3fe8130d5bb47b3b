"""The curves of a training as TensorBoard shows them, where the package `tensorboard` is installed.

Its records are written directly, because its own writer loads TensorFlow where that is installed.
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
    """Gets the epochs of a training as they end."""

    def write(self, epoch: Mapping[str, Any]) -> None:
        """Write one epoch, as it is logged (`mser_jax.storage.history`)."""

    def close(self) -> None:
        """Close what is open."""


def writer(folder: Path) -> Writer:
    """A writer of event files, or of nothing where `tensorboard` is not installed.

    Args:
      folder: for `tensorboard --logdir`; made with the first epoch. Where folds train in rounds,
        each is a run in it, 'round-1' the first.
    """
    if not importlib.util.find_spec("tensorboard"):
        return _NullWriter()
    try:
        return _EventWriter(Path(folder))
    except Exception as error:  # of whatever kind: no training should depend on it
        print(f"Note: no curves for TensorBoard, as the package cannot be loaded: {error}")
        return _NullWriter()


class _NullWriter:
    def write(self, epoch: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class _EventWriter:
    """One event file a round, begun with its first epoch; none any more when the disk failed."""

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
                f"\n{self._folder} cannot be written: {error.strerror}. No more curves for "
                "TensorBoard from this run; log.jsonl has what they show.",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):  # what did not go to the disk has been told
                file.close()

    def _append(self, epoch: Mapping[str, Any]) -> None:
        run = f"round-{epoch['round']}" if "round" in epoch else "."
        if run not in self._files:
            self._files[run] = self._open_file(self._folder / run, epoch["epoch"])
        self._files[run].write(epoch["epoch"], dict(_scalars(epoch)))

    def _open_file(self, folder: Path, first_epoch: int) -> _EventFile:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"events.out.tfevents.{time.time_ns()}"  # TensorBoard reads in this order
        file = _EventFile(self._records.RecordWriter(path.open("xb")), self._proto.Event)
        file.write_event(file_version="brain.Event:2")
        # What an earlier run wrote of this epoch and of those after it is not shown any more.
        file.write_event(step=first_epoch, session_log={"status": self._proto.SessionLog.START})
        return file


class _EventFile:
    """An event file; each event is in it when the call returns."""

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
