"""Runs a source's clips through the recipe: in processes, cached, with failures set aside."""

from __future__ import annotations

import collections
import dataclasses
import json
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data_prep.clip import Record
from data_prep.common import progress as bars
from data_prep.common.errors import UserError
from data_prep.datasets.base.source import Entry, ImageSource, Source
from data_prep.pipeline import cache, record
from data_prep.pipeline.workers import executor
from data_prep.stages.identity import Recipe

_Submitted = TypeVar("_Submitted")

QUARANTINE, NOTES = "quarantine.jsonl", "notes.jsonl"
AHEAD = 2  # clips a worker that are in flight or wait for the parent


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one entry: its record, or the reason why there is none."""

    name: str
    record: Record | None = None
    reused: bool = False
    reason: str = ""
    details: str = ""


@dataclasses.dataclass
class Tally:
    """Counts over the outcomes of a run, and the numbers of the apexes that were estimated."""

    computed: int = 0
    reused: int = 0
    noted: int = 0
    quarantined: dict[str, str] = dataclasses.field(default_factory=dict)
    apexes: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def written(self) -> int:
        """Clips that have a record."""
        return self.computed + self.reused


def run(
    source: Source,
    entries: Sequence[Entry],
    recipe: Recipe,
    *,
    cache_dir: Path,
    workers: int,
    keep_stages: bool = True,
) -> Generator[Outcome]:
    """Yield one outcome for each entry, in the order of the entries.

    The records are the same, to the bit, for any number of workers. A clip that fails is set
    aside and the others go on; what is finished is in the cache, so that a run that is
    interrupted goes on where it stopped. However many clips there are, no more than `AHEAD` a
    worker are in memory.

    Args:
      source: where clips are loaded from; picklable when there are several workers.
      entries: its clips.
      recipe: the fields of `data_prep.config.recipe()` as a plain dict.
      cache_dir: folder of what was made of single clips.
      workers: processes that load and preprocess; 0 or 1 works in this process.
      keep_stages: whether the cache keeps the result of each stage beside the records.

    Raises:
      UserError: a worker process was ended from outside.
      OSError: the disk is full or fails.
    """
    stages_dir = cache_dir if keep_stages else None
    window = AHEAD * workers if workers > 1 else 0
    try:
        with executor(workers) as pool:

            def submit(entry: Entry) -> Future[Any] | Record:
                stored = cache.read(record.cache_path(source, recipe, entry, cache_dir))
                return stored or pool.submit(record.key_frames, source, recipe, entry, stages_dir)

            for entry, pending in _submit_ahead(entries, submit, window):
                if isinstance(pending, Future):
                    path = record.cache_path(source, recipe, entry, cache_dir)
                    yield _finish(entry, pending, recipe, path)
                else:
                    yield Outcome(entry.name, pending, reused=True)
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process was ended from outside, perhaps for want of memory.\n"
            "Fix: run the same command again with --config.data.workers=1; the clips that are "
            "finished are kept."
        ) from error


def image_outcomes(source: ImageSource, entries: Iterable[Entry]) -> Iterator[Outcome]:
    """Yield the outcome of each entry of a source that has nothing to prepare."""
    return (Outcome(entry.name, source.record(entry)) for entry in entries)


def good_records(outcomes: Iterable[Outcome], tally: Tally, folder: Path) -> Iterator[Record]:
    """Pass on the records, and count.

    The clips that failed go into `folder/quarantine.jsonl` with the reason, and those of which
    there is something to know into `folder/notes.jsonl`.
    """
    quarantine, notes = folder / QUARANTINE, folder / NOTES
    quarantine.unlink(missing_ok=True)
    notes.unlink(missing_ok=True)
    for outcome in outcomes:
        if outcome.record is None:
            tally.quarantined[outcome.name] = outcome.reason
            _append(quarantine, outcome.name, reason=outcome.reason, details=outcome.details)
            continue
        if told := outcome.record["notes"]:
            tally.noted += 1
            _append(notes, outcome.name, notes=told.splitlines())
        if outcome.record.get("apex_estimated"):
            tally.apexes[outcome.name] = outcome.record["first"] + outcome.record["apex"]
        tally.reused += outcome.reused
        tally.computed += not outcome.reused
        yield outcome.record


def progress(outcomes: Iterable[Outcome], total: int, title: str) -> Iterator[Outcome]:
    """Show a bar with an estimate of the time left."""
    yield from bars.bar(outcomes, title, total, "clip")


def _submit_ahead(
    entries: Iterable[Entry], submit: Callable[[Entry], _Submitted], window: int
) -> Iterator[tuple[Entry, _Submitted]]:
    """Submit up to `window` entries beyond the one that is yielded."""
    waiting: collections.deque[tuple[Entry, _Submitted]] = collections.deque()
    for entry in entries:
        waiting.append((entry, submit(entry)))
        if len(waiting) > window:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _finish(entry: Entry, pending: Future, recipe: Recipe, path: Path) -> Outcome:
    """Wait for the key frames, add the flow and store the record; or say what failed."""
    try:
        partial, frames = pending.result()
    except (BrokenProcessPool, OSError):  # the process or the disk, not the clip
        raise
    except UserError as error:
        return Outcome(entry.name, reason=str(error))
    except Exception as error:  # a fault of ours, or a clip unlike any we thought of
        details = "".join(traceback.format_exception(error))
        return Outcome(entry.name, reason=f"{type(error).__name__}: {error}", details=details)
    made = record.with_flow(partial, frames, recipe)
    if not np.isfinite(made["flow"]).all():
        return Outcome(entry.name, reason="The optical flow is not finite: look at the frames.")
    cache.write(path, made)
    return Outcome(entry.name, made)


def _append(file: Path, clip: str, **fields: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"clip": clip, **fields}) + "\n")
