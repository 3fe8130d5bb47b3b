"""What databases of folders of frames have in common.

A database's own module says where its frames are and how its rows are read, its `database.toml`
which emotion goes to which class; the rest is here.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import os
import textwrap
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.datasets.base import repairs
from data_prep.datasets.base.about import DatabaseInfo, database_info
from data_prep.datasets.base.marks import Marks, snap_marks
from data_prep.datasets.base.repairs import Repair
from data_prep.datasets.base.rows import FolderEntry, Row, distinct_rows, entry_key
from data_prep.datasets.base.source import Listing
from data_prep.stages import landmarks
from data_prep.video.frames import Video
from data_prep.video.pictures import Images, frame_paths

CONTEXT_SECONDS = (
    2.0  # s kept before the onset and after the offset: a period of the slowest band in use
)
MAX_MOVEMENT_FRAMES = 4000  # frames from onset to offset; a micro-expression lasts half a second


class Database:
    """A database released as folders of frames, with or without a sheet.

    A subclass sets `name`, that of its folder in `data_prep.datasets`, and yields `rows()`.

    Attributes:
      listing: what the last `entries()` found.
    """

    name: ClassVar[str]

    def __init__(
        self,
        manual_dir: str | Path | None,
        landmarks_dir: str | Path | None = None,
        *,
        classes: str = "paper",
        frames: str = "auto",
        sheet: str = "",
        corrections: bool = True,
    ):
        """Look for the release in `manual_dir`, for the faces' landmarks in `landmarks_dir`.

        Landmarks are read from `<landmarks_dir>/<subject>/<clip>.csv` (`landmarks.read` has the
        forms), where expressions of one clip may also have a file each, `<clip>@<onset>.csv`;
        without that folder the clips carry none.

        Args:
          manual_dir: the folder of the release, or one above it.
          landmarks_dir: see above.
          classes: the map from emotions to classes, one of those in `database.toml`.
          frames: 'raw', 'cropped', or 'auto', which takes the raw frames where both are there.
          sheet: the name of the sheet where there are several; '' takes the best known.
          corrections: whether known errors of the sheet are corrected.

        Raises:
          UserError: there is no such folder, or no such map.
        """
        self._classes, self._frames, self._sheet = classes, frames, sheet
        self._corrections = corrections
        if not manual_dir:
            raise self.missing_error("no folder is set")
        self.root = Path(manual_dir).expanduser()
        if not self.root.is_dir():
            raise self.missing_error(f"there is no folder {self.root}")
        self.root = self.root.absolute()  # as the paths in a sheet may be
        emotions = self.emotions()
        self.class_names = tuple(emotions)
        self._class_of = {word: name for name, words in emotions.items() for word in words}
        self.landmarks_root = landmarks.resolve_folder(landmarks_dir)
        self.listing = Listing()

    @classmethod
    def from_config(cls, config: Any) -> Database:
        """The database that the section `data` of a configuration describes."""
        data = config.data
        return cls(
            data.manual_dir,
            data.landmarks_dir,
            classes=data.classes,
            frames=data.frames,
            sheet=data.sheet,
            corrections=data.corrections,
        )

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """The classes that a configuration asks for, in the order of their indices."""
        return tuple(database_info(cls.name).emotions(config.data.classes))

    @property
    def info(self) -> DatabaseInfo:
        """What is known of the database."""
        return database_info(self.name)

    def emotions(self) -> Mapping[str, list[str]]:
        """Class -> the emotions of the release that belong to it, in lower case."""
        return self.info.emotions(self._classes)

    @abstractmethod
    def rows(self, repair_log: list[Repair]) -> Iterable[Row]:
        """Yield the release's rows in its own order; add what was repaired to `repair_log`."""
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """What the rows were read from, for the description of the set."""
        return {"classes": self._classes}

    def entries(self) -> list[FolderEntry]:
        """List the clips of the classes in use, and say in `listing` what else was there.

        Raises:
          UserError: the release, its sheet or all of its frames are missing.
        """
        found: list[Repair] = []
        rows = list(self.rows(found))
        if not rows and not found:
            raise self.missing_error(f"no clip was found below {self.root}")
        kept = [row for row in distinct_rows(self.name, rows, found) if self._has_class(row, found)]
        entries = [entry for row in kept if (entry := self._entry(row, found))]
        counts, source = dict(self.info.counts.get(self._classes, {})), ""
        if counts:
            source = counts.pop("source")
        clips = dict(collections.Counter(entry.label for entry in entries))
        facts = self.facts() | {"frames": self._common_folder(entries)}
        self.listing = Listing(tuple(found), facts, clips, counts, source)
        return entries

    def load(self, entry: FolderEntry) -> Clip:
        """Find the clip's frames, which are read when they are asked for, and its landmarks."""
        row, marks = entry.row, entry.marks
        frames = self.open(row)
        kept = self._select_frames(row, frames, marks)
        onset = kept.numbers.index(marks.onset)
        path = self._landmarks_path(row)
        return Clip(
            frames=kept,
            fps=self._fps(row, frames),
            onset=onset,
            apex=None if marks.apex is None else kept.numbers.index(marks.apex),
            offset=kept.numbers.index(marks.offset),
            subject=row.subject,
            clip_id=row.clip_id,
            label=entry.label,
            emotion=row.emotion,
            dataset=self.name,
            first=marks.onset - onset,
            landmarks=landmarks.read(path, frames.numbers.index(marks.onset)) if path else None,
            notes=kept.notes,
        )

    def open(self, row: Row) -> Images | Video:
        """A clip's frames, of which none is read yet.

        Raises:
          UserError: they cannot be used.
        """
        return Images(frame_paths(row.folder))

    def missing_error(self, reason: str) -> UserError:
        """Say what is lacking, whom to ask, what is expected and which field to set."""
        agreement = (
            "The database is handed out by its owners under a signed agreement; this program never "
            f"downloads it. {self.info.owner}"
        )
        tree = textwrap.indent(textwrap.dedent(self.info.tree).strip(), "  ")
        parts = (
            f"{self.info.title}\nIt is not there: {reason}.",
            textwrap.fill(agreement, 79) if self.info.owner else "",
            f"Expected layout:\n\n{tree}",
            f"Then say where it is:\n\n  --config.data.manual_dir=/path/to/{self.name.upper()}",
        )
        return UserError("\n\n".join(filter(None, parts)))

    def _has_class(self, row: Row, repair_log: list[Repair]) -> bool:
        if row.emotion.lower() in self._class_of:
            return True
        reason = f"emotion {row.emotion!r} is outside the classes in use"
        repair_log.append(repairs.left_out_row(row.name(self.name), reason))
        return False

    def _entry(self, row: Row, repair_log: list[Repair]) -> FolderEntry | None:
        """The row's entry, or None when its frames or marks leave nothing to use."""
        name, folder = row.name(self.name), self.relative_path(row.folder)
        repair_log += [Repair(name, *change) for change in row.changes]
        try:
            if not row.folder.exists():
                repair_log.append(
                    repairs.left_out_row(name, "its folder of frames is absent", folder)
                )
                return None
            frames = self.open(row)
            marks, changes = snap_marks(frames.numbers, row.onset, row.apex, row.offset)
            kept = self._select_frames(row, frames, marks)
        except (UserError, OSError) as error:
            reason = getattr(error, "strerror", "") or str(error).removeprefix(f"{row.folder}: ")
            stated = f"onset {row.onset}, apex {row.apex}, offset {row.offset} in {folder}"
            repair_log.append(repairs.left_out_row(name, reason, stated))
            return None
        repair_log += [Repair(name, *change) for change in changes]
        told = any(field == repairs.APEX for field, *_ in (*row.changes, *changes))
        if marks.apex is None and not told:
            repair_log.append(Repair(name, repairs.APEX, "", "", repairs.NO_APEX))
        label = self._class_of[row.emotion.lower()]
        entry = FolderEntry(self.name, label, row, marks, "")
        files = [*kept.files, self._landmarks_path(row)]
        return dataclasses.replace(entry, key=entry_key(entry, folder, files))

    def _select_frames(self, row: Row, frames: Images | Video, marks: Marks) -> Images | Video:
        """The frames that are of use: from onset to offset, and those around."""
        onset, offset = frames.numbers.index(marks.onset), frames.numbers.index(marks.offset)
        if offset - onset >= MAX_MOVEMENT_FRAMES:
            raise UserError(f"more than {MAX_MOVEMENT_FRAMES} frames from onset to offset")
        around = math.ceil(CONTEXT_SECONDS * self._fps(row, frames))
        return frames.part(max(0, onset - around), offset + around + 1)

    def _fps(self, row: Row, frames: Images | Video) -> float:
        return row.fps or frames.fps or self.info.fps

    def _common_folder(self, entries: Sequence[FolderEntry]) -> str:
        """The folder that holds the frames of all clips."""
        folders = [entry.row.folder for entry in entries]
        return self.relative_path(Path(os.path.commonpath(folders))) if folders else ""

    def relative_path(self, folder: Path) -> str:
        """A folder as it is called in the release: the same wherever that lies."""
        inside = folder.is_relative_to(self.root)
        return (folder.relative_to(self.root) if inside else folder).as_posix()

    def _landmarks_path(self, row: Row) -> Path | None:
        if not self.landmarks_root:
            return None
        own = self.landmarks_root / row.subject / f"{row.clip_id}.csv"
        # Several expressions of one clip may have one file.
        shared = own.with_name(f"{row.clip_id.removesuffix(f'@{row.onset}')}.csv")
        return own if own.is_file() else shared
