"""What every source of clips has in common: the protocol, and databases of folders of frames.

A database's own module says where its frames are, how its sheet is read and which emotion goes to
which class; the rest is here.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from data_prep import landmarks
from data_prep.clip import Clip
from data_prep.errors import UserError
from data_prep.frames import Images, frame_paths, is_frame, locate

SEARCH_DEPTH = 3  # folders below manual_dir in which a release is looked for


class Entry(Protocol):
    """One clip of a source, cheap to list and to send to another process."""

    @property
    def name(self) -> str:
        """`dataset/subject/clip_id`."""
        ...

    @property
    def key(self) -> str:
        """Text that changes whenever the clip's source material or its annotation does."""
        ...


class Source(Protocol):
    """A set of clips with classes; picklable, since worker processes load from it."""

    @property
    def name(self) -> str:
        """The data set's name, a lower-case identifier."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their indices."""
        ...

    def entries(self) -> Sequence[Any]:
        """List the clips (each an `Entry`) without reading a frame."""
        ...

    def load(self, entry: Any) -> Clip:
        """Read one clip; a clip that cannot be used raises UserError."""
        ...


@dataclasses.dataclass(frozen=True)
class Row:
    """One annotated clip as the release states it, before classes are assigned.

    Frame numbers are those in the file names; None where the release states none.
    """

    subject: str
    clip_id: str
    emotion: str
    folder: Path
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None


@dataclasses.dataclass(frozen=True)
class FolderEntry:
    """A row that belongs to a class, and the state of its frame folder."""

    dataset: str
    label: str
    row: Row
    key: str

    @property
    def name(self) -> str:
        """`dataset/subject/clip_id`."""
        return f"{self.dataset}/{self.row.subject}/{self.row.clip_id}"


class Database:
    """A database released as folders of frames, with or without a sheet.

    A subclass sets the class attributes and yields `rows()`.

    Attributes:
      dropped: reason -> number of rows that the last `entries()` left out.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # one line: what the database is
    owner: ClassVar[str]  # who hands it out
    tree: ClassVar[str]  # drawing of the folders and files that are expected
    fps: ClassVar[float]
    class_names: ClassVar[tuple[str, ...]]
    classes: ClassVar[Mapping[str, str]]  # emotion in lower case -> class

    def __init__(self, manual_dir: str | Path | None, landmarks_dir: str | Path | None = None):
        """Look for the release in `manual_dir`, for the faces' landmarks in `landmarks_dir`.

        Landmarks are read from `<landmarks_dir>/<subject>/<clip>.csv` (`landmarks.read` has the
        forms); without that folder the clips carry none.
        """
        if not manual_dir:
            raise self.missing("no folder is set")
        self.root = Path(manual_dir).expanduser()
        if not self.root.is_dir():
            raise self.missing(f"there is no folder {self.root}")
        self.landmarks_root = Path(landmarks_dir).expanduser() if landmarks_dir else None
        if self.landmarks_root and not self.landmarks_root.is_dir():
            raise UserError(
                f"{self.landmarks_root}: no such folder. Correct config.data.landmarks_dir."
            )
        self.dropped: dict[str, int] = {}

    def rows(self) -> Iterable[Row]:
        """Yield the release's rows in its own order."""
        raise NotImplementedError

    def entries(self) -> list[FolderEntry]:
        """List the clips of the classes in use; count the other rows in `dropped`."""
        rows = list(self.rows())
        if not rows:
            raise self.missing(f"no clip was found below {self.root}")
        dropped: collections.Counter[str] = collections.Counter()
        kept = [row for row in _distinct(rows, dropped) if self._has_class(row, dropped)]
        self.dropped = dict(dropped)
        return [self._entry(row) for row in kept]

    def load(self, entry: FolderEntry) -> Clip:
        """Find the clip's frames, which are read when they are asked for, and its landmarks."""
        row = entry.row
        frames = Images(frame_paths(row.folder))
        onset, apex, offset = locate(
            frames.numbers,
            row.onset,
            row.apex,
            row.offset,
            where=row.folder,
            remedy="Unpack the release again, or correct the sheet.",
        )
        path = self._landmarks_path(row)
        return Clip(
            frames=frames,
            fps=self.fps,
            onset=onset,
            apex=apex,
            offset=offset,
            subject=row.subject,
            clip_id=row.clip_id,
            label=entry.label,
            emotion=row.emotion,
            dataset=self.name,
            first=frames.numbers[onset] - onset,
            landmarks=landmarks.read(path, onset) if path else None,
            notes=frames.notes,
        )

    def missing(self, lack: str) -> UserError:
        """Say what is lacking, whom to ask, what is expected and which field to set."""
        agreement = (
            "The database is handed out by its owners under a signed agreement; this program never "
            f"downloads it. {self.owner}"
        )
        tree = textwrap.indent(textwrap.dedent(self.tree).strip(), "  ")
        return UserError(
            f"{self.title}\nIt is not there: {lack}.\n\n"
            f"{textwrap.fill(agreement, 79)}\n\n"
            f"Expected layout:\n\n{tree}\n\n"
            f"Then say where it is:\n\n  --config.data.manual_dir=/path/to/{self.name.upper()}"
        )

    def _has_class(self, row: Row, dropped: collections.Counter[str]) -> bool:
        if row.emotion.lower() in self.classes:
            return True
        dropped[f"emotion {row.emotion!r} is outside the classes in use"] += 1
        return False

    def _entry(self, row: Row) -> FolderEntry:
        label = self.classes[row.emotion.lower()]
        key = _key(row, label, self.root, self._landmarks_path(row))
        return FolderEntry(self.name, label, row, key)

    def _landmarks_path(self, row: Row) -> Path | None:
        # By the folder's name: several expressions of one folder have one file of landmarks.
        root = self.landmarks_root
        return root and root / row.subject / f"{row.folder.name}.csv"


def dropped(source: Source) -> dict[str, int]:
    """Rows that a source left out, by reason; empty for a source that drops none."""
    return dict(getattr(source, "dropped", {}))


def folders_below(root: Path, depth: int = SEARCH_DEPTH) -> Iterator[Path]:
    """Yield `root` and the folders below it, nearest first, in the order of their names."""
    level = [root]
    for remaining in range(depth, -1, -1):
        yield from level
        if remaining:
            level = sorted(child for folder in level for child in subfolders(folder))


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder; none in one that may not be read, such as a disk's lost+found."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _distinct(rows: Sequence[Row], dropped: collections.Counter[str]) -> Iterator[Row]:
    """Leave out repeated rows; where one clip holds several expressions, name them by the onset."""
    clips = collections.Counter((row.subject, row.clip_id) for row in dict.fromkeys(rows))
    seen: set[Row] = set()
    for row in rows:
        if row in seen:
            dropped["the same row stands twice"] += 1
            continue
        seen.add(row)
        if clips[row.subject, row.clip_id] > 1:
            row = dataclasses.replace(row, clip_id=f"{row.clip_id}@{row.onset}")
        yield row


def _key(row: Row, label: str, root: Path, landmarks_path: Path | None) -> str:
    """Digest of the annotation and of each file's name, size and time of change."""
    files = []
    if row.folder.is_dir():
        # A link to nowhere, as of a file that git-annex has not fetched, fails when it is read.
        files += (
            path for path in sorted(row.folder.iterdir()) if is_frame(path) and path.is_file()
        )
    if landmarks_path and landmarks_path.is_file():
        files.append(landmarks_path)
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    marks = (row.subject, row.clip_id, row.emotion, label, row.onset, row.apex, row.offset)
    folder = row.folder.relative_to(root).as_posix() if row.folder.is_relative_to(root) else ""
    content = json.dumps([folder, marks, states])
    return hashlib.sha256(content.encode()).hexdigest()
