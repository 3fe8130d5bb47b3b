"""What every source of clips has in common: the protocol, and reading folders of frames.

A database's own module says where its frames are, how its sheet is read and which emotion goes to
which class; the rest is here.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from data_prep.clip import Clip
from data_prep.cv import cv2
from data_prep.errors import UserError

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
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

    def __init__(self, manual_dir: str | Path | None):
        if not manual_dir:
            raise self.missing("no folder is set")
        self.root = Path(manual_dir).expanduser()
        if not self.root.is_dir():
            raise self.missing(f"there is no folder {self.root}")
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
        """Read every frame of the clip's folder."""
        row = entry.row
        paths = frame_paths(row.folder)
        onset, apex, offset = _check_marks(row, sorted(paths))
        return Clip(
            frames=read_frames(list(paths.values())),
            fps=self.fps,
            onset=onset,
            apex=apex,
            offset=offset,
            subject=row.subject,
            clip_id=row.clip_id,
            label=entry.label,
            emotion=row.emotion,
            dataset=self.name,
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
        return FolderEntry(self.name, label, row, _key(row, label, self.root))


def dropped(source: Source) -> dict[str, int]:
    """Rows that a source left out, by reason; empty for a source that drops none."""
    return dict(getattr(source, "dropped", {}))


def frame_number(path: Path) -> int | None:
    """The last integer in a file's name, or None: `006_05562.jpg` is frame 5562."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else None


def frame_paths(folder: Path) -> dict[int, Path]:
    """The frames of a folder by their number, in numeric order.

    Raises:
      UserError: when the folder is absent, two files share a number, or fewer than 2 are there.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: the clip's folder is absent. Unpack the release again.")
    numbered: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        number = frame_number(path)
        if number is None or not _is_frame(path):
            continue
        if number in numbered:
            raise UserError(
                f"{path}: frame {number} is there twice, also as {numbered[number].name}. "
                "Keep one of them."
            )
        numbered[number] = path
    if len(numbered) < 2:
        raise UserError(
            f"{folder}: {len(numbered)} frames ({', '.join(FRAME_SUFFIXES)}), at least 2 are "
            "needed. Unpack the release again."
        )
    return dict(sorted(numbered.items()))


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".")


def read_frames(paths: Sequence[Path]) -> np.ndarray:
    """Read frames of one size: uint8 `[t, h, w]` when grey, `[t, h, w, 3]` RGB when coloured.

    Raises:
      UserError: naming the file that cannot be read or differs in size.
    """
    frames: list[np.ndarray] = []
    for path in paths:
        frame = _read_frame(path)
        if frames and frame.shape != frames[0].shape:
            raise UserError(
                f"{path}: {_size(frame)}, but {paths[0].name} is {_size(frames[0])}. "
                "The frames of a clip must have one size: unpack the release again."
            )
        frames.append(frame)
    return np.stack(frames)


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


def _read_frame(path: Path) -> np.ndarray:
    # imdecode rather than imread: paths may hold letters that imread cannot open on Windows.
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}). Check the file.") from error
    frame = cv2.imdecode(content, cv2.IMREAD_ANYCOLOR) if content.size else None
    if frame is None:
        raise UserError(f"{path}: not a readable image. Unpack the release again.")
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _size(frame: np.ndarray) -> str:
    colour = "grey" if frame.ndim == 2 else "colour"
    return f"{frame.shape[1]} x {frame.shape[0]} {colour}"


def _check_marks(row: Row, numbers: list[int]) -> tuple[int, int | None, int]:
    """Turn frame numbers into indices of `numbers`; what the release omits is first and last."""
    onset = numbers[0] if row.onset is None else row.onset
    offset = numbers[-1] if row.offset is None else row.offset
    where = f"{row.subject}/{row.clip_id}"
    if not onset < offset or (row.apex is not None and not onset <= row.apex <= offset):
        raise UserError(
            f"{where}: onset {onset}, apex {row.apex}, offset {offset} are not in this order. "
            "Correct the sheet."
        )
    absent = sorted(set(range(onset, offset + 1)) - set(numbers))
    if absent and row.onset is not None:
        raise UserError(
            f"{row.folder}: {len(absent)} of the frames {onset} to {offset} are absent, "
            f"first {absent[0]}. Unpack the release again, or correct the sheet."
        )
    position = {number: index for index, number in enumerate(numbers)}
    apex = None if row.apex is None else position[row.apex]
    return position[onset], apex, position[offset]


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


def _key(row: Row, label: str, root: Path) -> str:
    """Digest of the annotation and of each frame's name, size and time of change."""
    files = []
    if row.folder.is_dir():
        frames = filter(_is_frame, sorted(row.folder.iterdir()))
        states = ((path.name, path.stat()) for path in frames)
        files = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    marks = (row.subject, row.clip_id, row.emotion, label, row.onset, row.apex, row.offset)
    folder = row.folder.relative_to(root).as_posix() if row.folder.is_relative_to(root) else ""
    content = json.dumps([folder, marks, files])
    return hashlib.sha256(content.encode()).hexdigest()
