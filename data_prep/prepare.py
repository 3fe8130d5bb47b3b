"""From a configuration to a set of shards: what both commands call."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep import config as configs
from data_prep import datasets, face, pipeline, record, shards
from data_prep.datasets.base import Entry, Source, dropped
from data_prep.errors import UserError


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A finished set.

    Attributes:
      path: its folder, for `shards.load`.
      name: `<data set>/<fingerprint>`.
      reused: whether it was there before.
      counts: 'written', 'dropped' and 'quarantined' clips.
      reused_clips: of those written, the clips that came from the cache; all when `reused`.
      seconds: the time that this took.
    """

    path: Path
    name: str
    reused: bool
    counts: dict[str, int]
    reused_clips: int
    seconds: float


def prepare(config: Any, say: Callable[[str], None] = print) -> Prepared:
    """Make the set that the configuration describes, or find it made before.

    Args:
      config: with the sections `data`, `prep` and `synthetic`.
      say: takes the lines that tell the user what was made, reused or left out.

    Raises:
      UserError: for a configuration or a database that cannot be used.
    """
    start = time.perf_counter()
    configs.validate(config)
    _check_writable(Path(config.data.data_dir))
    source = datasets.source(config)
    recipe = config.prep.to_dict()
    entries = source.entries()
    _say_dropped(source, say)
    name = fingerprint(source, entries, recipe)
    path = shards.set_path(Path(config.data.data_dir), source.name, name)
    reused = shards.is_finished(path)
    made = 0
    if not reused:
        _check_landmarks(config)
        try:
            made = _make(source, entries, recipe, config.data, path, say)
        except OSError as error:
            raise UserError(
                f"{error.filename or config.data.data_dir}: {error.strerror or error}. What is "
                "finished is kept. Remedy: make room, or give another --config.data.data_dir."
            ) from error
    counts = shards.load(path, recipe).info.counts
    if reused:
        say(f"Reused {path}: {counts['written']} clips, prepared before.")
    _say_quarantined(counts["quarantined"], path, say)
    return Prepared(
        path=path,
        name=f"{source.name}/{name}",
        reused=reused,
        counts=counts,
        reused_clips=counts["written"] - made,
        seconds=time.perf_counter() - start,
    )


def _check_landmarks(config: Any) -> None:
    """Miss dlib before the first clip is read rather than after the last."""
    points = config.prep.face.points
    if points == "dlib" or (points == "auto" and config.data.dataset != "synthetic"):
        face.check_detector(config.prep.face.model)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}. "
            "Remedy: --config.data.data_dir=/another/folder."
        ) from error


def fingerprint(source: Source, entries: Sequence[Entry], recipe: record.Recipe) -> str:
    """Two digests, of the recipe and of the clips: `1f0c9a27-88b1d3e0`."""
    clips = [(entry.name, entry.key) for entry in entries]
    how = record.digest(str(record.FORMAT), record.canonical(recipe))
    what = record.digest(record.canonical([source.class_names, clips]))
    return f"{how[:8]}-{what[:8]}"


def _make(
    source: Source,
    entries: Sequence[Entry],
    recipe: record.Recipe,
    data: Any,
    path: Path,
    say: Callable[[str], None],
) -> int:
    """Write the set; return how many of its clips were not in the cache."""
    tally = pipeline.Tally()
    outcomes = pipeline.run(
        source, entries, recipe, cache_dir=Path(data.data_dir) / "cache", workers=data.workers
    )
    outcomes = pipeline.progress(outcomes, len(entries), f"Preparing {source.name}")
    shards.write(
        pipeline.good_records(outcomes, tally, _quarantine(path)),
        data_dir=Path(data.data_dir),
        name=source.name,
        fingerprint=path.parent.name,
        recipe=recipe,
        class_names=source.class_names,
        describe=lambda: _description(source, tally),
    )
    say(f"Reused {tally.reused} of {tally.written} clips, made {tally.made}: {path}")
    return tally.made


def _description(source: Source, tally: pipeline.Tally) -> dict[str, Any]:
    left_out = dropped(source)
    return {
        "counts": {
            "written": tally.written,
            "dropped": sum(left_out.values()),
            "quarantined": len(tally.quarantined),
        },
        "dropped": left_out,
        "quarantined": tally.quarantined,
    }


def _say_dropped(source: Source, say: Callable[[str], None]) -> None:
    for reason, count in dropped(source).items():
        say(f"Left out {count} rows of {source.name}: {reason}.")


def _say_quarantined(count: int, path: Path, say: Callable[[str], None]) -> None:
    if count:
        say(
            f"{count} clips failed and are not in the set; each with its reason in\n"
            f"{_quarantine(path)}\nRemove {path.parent} to try them again."
        )


def _quarantine(path: Path) -> Path:
    """Beside the set's folder, which appears only when the set is whole."""
    return path.parent / "quarantine.jsonl"
