"""Runs a source's clips through the recipe: in parallel, cached, with failures set aside."""

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
AHEAD = 2  # Clips per worker that are in flight or wait for the parent.


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result for one entry: its record, or the reason why there is none.

    Attributes:
      name: Name of the entry.
      record: The record, or None if the clip failed.
      reused: True if the record came from the cache.
      reason: Why the clip failed, for the user.
      details: Traceback of an unexpected error.
    """

    name: str
    record: Record | None = None
    reused: bool = False
    reason: str = ""
    details: str = ""


@dataclasses.dataclass
class Tally:
    """Counts over the outcomes of a run.

    Attributes:
      computed: Clips computed in this run.
      reused: Clips read from the cache.
      noted: Clips with notes.
      quarantined: Name of a failed clip -> reason.
      apexes: Name of a clip -> frame number of its estimated apex.
    """

    computed: int = 0
    reused: int = 0
    noted: int = 0
    quarantined: dict[str, str] = dataclasses.field(default_factory=dict)
    apexes: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def written(self) -> int:
        """Number of clips that have a record."""
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
    """Yield one outcome per entry, in the order of the entries.

    The records are bit-identical for any number of workers. If a clip fails, the others continue.
    Finished clips are cached, so that an interrupted run continues where it stopped. At most
    `AHEAD` clips per worker are in memory, whatever the number of clips.

    Args:
      source: Source that loads the clips; picklable if there are several workers.
      entries: Clips of the source.
      recipe: Fields of `data_prep.config.recipe()` as a plain dict.
      cache_dir: Folder of the cache.
      workers: Processes that load and preprocess; 0 or 1 works in this process.
      keep_stages: Whether to cache the result of each stage besides the records.

    Raises:
      UserError: A worker process was killed.
      OSError: The disk is full or fails.
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
            "A worker process was killed, perhaps because memory ran out.\n"
            "Fix: run the same command again with --config.data.workers=1. Finished clips are "
            "kept."
        ) from error


def image_outcomes(source: ImageSource, entries: Iterable[Entry]) -> Iterator[Outcome]:
    """Yield the outcome of each entry of a source of ready-made images."""
    return (Outcome(entry.name, source.record(entry)) for entry in entries)


def good_records(outcomes: Iterable[Outcome], tally: Tally, folder: Path) -> Iterator[Record]:
    """Yield the records and count the outcomes.

    Args:
      outcomes: Outcomes of a run.
      tally: Counts to update.
      folder: Folder of two files that are written anew: `quarantine.jsonl`, the failed clips with
        their reasons, and `notes.jsonl`, the clips with notes.
    """
    quarantine, notes = folder / QUARANTINE, folder / NOTES
    quarantine.unlink(missing_ok=True)
    notes.unlink(missing_ok=True)
    for outcome in outcomes:
        if outcome.record is None:
            tally.quarantined[outcome.name] = outcome.reason
            _append(quarantine, outcome.name, reason=outcome.reason, details=outcome.details)
            continue
        if notes_text := outcome.record["notes"]:
            tally.noted += 1
            _append(notes, outcome.name, notes=notes_text.splitlines())
        if outcome.record.get("apex_estimated"):
            tally.apexes[outcome.name] = outcome.record["first"] + outcome.record["apex"]
        tally.reused += outcome.reused
        tally.computed += not outcome.reused
        yield outcome.record


def progress(outcomes: Iterable[Outcome], total: int, title: str) -> Iterator[Outcome]:
    """Yield the outcomes and show a progress bar with the time left."""
    yield from bars.bar(outcomes, title, total, "clip")


def _submit_ahead(
    entries: Iterable[Entry], submit: Callable[[Entry], _Submitted], window: int
) -> Iterator[tuple[Entry, _Submitted]]:
    """Yield entries with their submissions, submitting `window` entries ahead."""
    waiting: collections.deque[tuple[Entry, _Submitted]] = collections.deque()
    for entry in entries:
        waiting.append((entry, submit(entry)))
        if len(waiting) > window:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _finish(entry: Entry, pending: Future, recipe: Recipe, path: Path) -> Outcome:
    """Wait for the key frames, add the flow and cache the record.

    If the clip fails, the outcome holds the reason.
    """
    try:
        partial, frames = pending.result()
    except (BrokenProcessPool, OSError):  # A fault of the process or the disk, not of the clip.
        raise
    except UserError as error:
        return Outcome(entry.name, reason=str(error))
    except Exception as error:  # A bug, or a clip that no check foresaw.
        details = "".join(traceback.format_exception(error))
        return Outcome(entry.name, reason=f"{type(error).__name__}: {error}", details=details)
    clip_record = record.with_flow(partial, frames, recipe)
    if not np.isfinite(clip_record["flow"]).all():
        return Outcome(
            entry.name, reason="The optical flow is not finite. Fix: look at the frames."
        )
    cache.write(path, clip_record)
    return Outcome(entry.name, clip_record)


def _append(file: Path, clip: str, **fields: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"clip": clip, **fields}) + "\n")
