"""The log of a run, log.jsonl: one line per event (`storage.history` lists the events)."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class Stage:
    """A stage of a run in progress. Set `reused` if there was nothing left to do."""

    def __init__(self) -> None:
        self.reused = False


class Log:
    """Writer that appends events to a file. An event is in the file when the call returns.

    If the disk is full, a message is printed once, and the lines are kept in memory and written
    with the next event.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._unwritten_lines: list[str] = []
        if self.path.is_file():
            self._end_last_line()

    def _end_last_line(self) -> None:
        """End a line that a power cut left half-written, to keep the next event apart."""
        if not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def write(self, event: str, **fields: object) -> None:
        """Append one event."""
        failed_before = bool(self._unwritten_lines)
        self._unwritten_lines.append(json.dumps({"event": event, **fields}) + "\n")
        try:
            self._append("".join(self._unwritten_lines).encode())
        except OSError as error:
            if not failed_before:
                print(
                    f"\n{self.path}: cannot be written now ({error.strerror}). The lines are kept "
                    "in memory and written when there is space.",
                    file=sys.stderr,
                    flush=True,
                )
        else:
            self._unwritten_lines.clear()

    def _append(self, lines: bytes) -> None:
        """Append all lines or none: if the disk fills up, remove what was written of them."""
        with self.path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                while lines:
                    lines = lines[file.write(lines) :]
            except OSError:
                file.truncate(end)
                raise

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a stage, which is logged only if it ends without an error."""
        stage, start_time = Stage(), time.perf_counter()
        yield stage
        self.write(
            "stage", name=name, seconds=time.perf_counter() - start_time, reused=stage.reused
        )

    def read(self) -> list[dict]:
        """Read all events, unwritten ones included, and drop half-written lines."""
        lines = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        events = []
        for line in [*lines.splitlines(), *self._unwritten_lines]:
            with contextlib.suppress(json.JSONDecodeError):
                events.append(json.loads(line))
        return events
