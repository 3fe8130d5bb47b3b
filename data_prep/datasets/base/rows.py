"""The rows of a release, and the entries that those become which belong to a class."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.datasets.base import repairs
from data_prep.datasets.base.marks import Change, Marks
from data_prep.datasets.base.repairs import Repair


@dataclasses.dataclass(frozen=True)
class Row:
    """One annotated clip as the release states it, before classes are assigned.

    Its frames are in a folder, or in a video. Their numbers are those in the file names, or count
    from 0. An onset or offset of None is the first or last frame, an apex of None is not marked.
    Frames a second of None are those of the database. What was corrected is in `changes`.
    """

    subject: str
    clip_id: str
    emotion: str
    folder: Path
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    fps: float | None = None
    changes: tuple[Change, ...] = dataclasses.field(default=(), compare=False)

    def name(self, dataset: str) -> str:
        """`dataset/subject/clip_id`."""
        return f"{dataset}/{self.subject}/{self.clip_id}"


@dataclasses.dataclass(frozen=True)
class FolderEntry:
    """A row that belongs to a class, with its marks on frames that are there.

    Attributes:
      dataset: the database's name.
      label: the class.
      row: as the release states it.
      marks: numbers of the frames of onset, apex (None when not known) and offset.
      key: see `Entry`.
    """

    dataset: str
    label: str
    row: Row
    marks: Marks
    key: str

    @property
    def name(self) -> str:
        """`dataset/subject/clip_id`."""
        return self.row.name(self.dataset)


def distinct_rows(dataset: str, rows: Sequence[Row], repair_log: list[Repair]) -> Iterator[Row]:
    """Leave out repeated rows; where one clip holds several expressions, name the onset too.

    Args:
      dataset: the database's name.
      rows: in the order of the release.
      repair_log: takes what is left out.
    """
    clips = collections.Counter((row.subject, row.clip_id) for row in dict.fromkeys(rows))
    seen: set[Row] = set()
    names: set[str] = set()
    for row in rows:
        fault = "the same row stands twice" if row in seen else ""
        seen.add(row)
        if not fault and clips[row.subject, row.clip_id] > 1 and row.onset is not None:
            row = dataclasses.replace(row, clip_id=f"{row.clip_id}@{row.onset}")
        name = row.name(dataset)
        if not fault and name in names:
            fault = "another row has this subject, clip and onset"
        if fault:
            stated = f"{row.emotion}, onset {row.onset}, apex {row.apex}, offset {row.offset}"
            repair_log.append(repairs.left_out_row(name, fault, stated))
            continue
        names.add(name)
        yield row


def entry_key(entry: FolderEntry, folder: str, files: Sequence[Path | None]) -> str:
    """Digest of the annotation and of each file's name, size and time of change.

    Args:
      entry: the clip.
      folder: of its frames, as it is called in the release.
      files: all that the clip is read from.
    """
    states = [state for path in files if path and (state := _state(path))]
    row = entry.row
    marks = (row.subject, row.clip_id, row.emotion, entry.label, *entry.marks, row.fps)
    content = json.dumps([folder, marks, states])
    return hashlib.sha256(content.encode()).hexdigest()


def _state(path: Path) -> tuple[str, int, int] | None:
    """A file's name, size and time of change; None where there is none.

    A link to nowhere, as of a file that git-annex has not fetched, fails when it is read.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return path.name, stat.st_size, stat.st_mtime_ns
