"""The rows of a release, and the entries made from rows that belong to a class."""

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

    Attributes:
      subject: Name of the subject.
      clip_id: Name of the clip.
      emotion: Emotion or label that the release states.
      folder: Folder of the frames, or a video. Frame numbers are those in the file names; frames
        without numbers count from 0.
      onset: Frame number; None means the first frame.
      apex: Frame number; None means not marked.
      offset: Frame number; None means the last frame.
      fps: Frames per second; None means those of the file or the database.
      changes: Corrections already made to the row.
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
        """Return `dataset/subject/clip_id`."""
        return f"{dataset}/{self.subject}/{self.clip_id}"


@dataclasses.dataclass(frozen=True)
class FolderEntry:
    """An annotation row that can be used: it has a class, and its marked frames exist.

    Attributes:
      dataset: Name of the database.
      label: Name of the class.
      row: Row as the annotation file has it.
      marks: Frame numbers of onset, apex (None if unknown) and offset.
      key: Digest of what the clip is made from; see `Entry.key`.
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
    """Yield the rows without repeats, under distinct names.

    Where one clip holds several expressions, the onset is added to the clip's name.

    Args:
      dataset: Name of the database.
      rows: Rows in the order of the release.
      repair_log: List that receives the rows left out.
    """
    clips = collections.Counter((row.subject, row.clip_id) for row in dict.fromkeys(rows))
    earlier_rows: set[Row] = set()
    names: set[str] = set()
    for row in rows:
        fault = "the row occurs twice" if row in earlier_rows else ""
        earlier_rows.add(row)
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
    """Compute a digest of the annotation and of each file's name, size and time.

    Args:
      entry: Clip.
      folder: Folder of its frames, relative to the release.
      files: Every file that the clip is read from; None is skipped.
    """
    states = [state for path in files if path and (state := _state(path))]
    row = entry.row
    marks = (row.subject, row.clip_id, row.emotion, entry.label, *entry.marks, row.fps)
    content = json.dumps([folder, marks, states])
    return hashlib.sha256(content.encode()).hexdigest()


def _state(path: Path) -> tuple[str, int, int] | None:
    """Return a file's name, size and modification time in ns; None if it is missing.

    A broken link, such as a file that git-annex has not fetched, counts as absent here; reading it
    fails later.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return path.name, stat.st_size, stat.st_mtime_ns
