"""log.jsonl: a line for everything that happened in a run (`mser_jax.history` lists the events)."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path


class Stage:
    """A stage of a run while it lasts; set `reused` when there was nothing left to do."""

    def __init__(self) -> None:
        self.reused = False


class Log:
    """Appends events to a file, each on disk when the call returns."""

    def __init__(self, path: Path):
        self.path = Path(path)
        if self.path.is_file():
            self._end_last_line()

    def _end_last_line(self) -> None:
        """End what a power cut left half-written, so that it does not swallow the next event."""
        if not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def write(self, event: str, **fields: object) -> None:
        """Append one event."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **fields}) + "\n")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a stage; it is logged only when it ends well."""
        stage, began = Stage(), time.perf_counter()
        yield stage
        self.write("stage", name=name, seconds=time.perf_counter() - began, reused=stage.reused)

    def read(self) -> list[dict]:
        """Every whole line; one that a power cut left half-written is dropped."""
        if not self.path.is_file():
            return []
        events = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                events.append(json.loads(line))
        return events
