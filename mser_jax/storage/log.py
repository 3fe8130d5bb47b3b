"""log.jsonl: a line for everything that happened in a run (`storage.history` lists the events)."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class Stage:
    """A stage of a run while it lasts; set `reused` when there was nothing left to do."""

    def __init__(self) -> None:
        self.reused = False


class Log:
    """Appends events to a file, each on disk when the call returns.

    What a full disk does not take is told once, kept, and written with the next event.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._unwritten_lines: list[str] = []
        if self.path.is_file():
            self._end_last_line()

    def _end_last_line(self) -> None:
        """End what a power cut left half-written, so that it does not swallow the next event."""
        if not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def write(self, event: str, **fields: object) -> None:
        """Append one event."""
        told = bool(self._unwritten_lines)
        self._unwritten_lines.append(json.dumps({"event": event, **fields}) + "\n")
        try:
            self._append("".join(self._unwritten_lines).encode())
        except OSError as error:
            if not told:
                print(
                    f"\n{self.path} cannot be written now: {error.strerror}. Its lines are kept, "
                    "and written when there is space.",
                    file=sys.stderr,
                    flush=True,
                )
        else:
            self._unwritten_lines.clear()

    def _append(self, lines: bytes) -> None:
        """All of them, or none: what a disk took of them before it was full is taken back."""
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
        """Time a stage; it is logged only when it ends well."""
        stage, began = Stage(), time.perf_counter()
        yield stage
        self.write("stage", name=name, seconds=time.perf_counter() - began, reused=stage.reused)

    def read(self) -> list[dict]:
        """Every whole line; one that a power cut left half-written is dropped."""
        lines = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        events = []
        for line in [*lines.splitlines(), *self._unwritten_lines]:
            with contextlib.suppress(json.JSONDecodeError):
                events.append(json.loads(line))
        return events
