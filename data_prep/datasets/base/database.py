"""Shared code of the databases that are released as folders of frames.

The reader of a database finds its frames and reads its rows. Its `database.toml` maps emotions to
classes. Everything else is here.
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

from data_prep import class_map
from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.datasets.base import repairs
from data_prep.datasets.base.about import DatabaseInfo, database_info, known_emotions
from data_prep.datasets.base.marks import Marks, snap_marks
from data_prep.datasets.base.repairs import Repair
from data_prep.datasets.base.rows import FolderEntry, Row, distinct_rows, entry_key
from data_prep.datasets.base.source import Listing
from data_prep.stages import landmarks
from data_prep.video.frames import Video
from data_prep.video.pictures import Images, frame_paths

# Seconds kept before the onset and after the offset: a period of the slowest temporal band in use.
CONTEXT_SECONDS = 2.0
# Maximum number of frames from onset to offset. A micro-expression lasts half a second.
MAX_MOVEMENT_FRAMES = 4000


class Database:
    """A database released as folders of frames, with or without a sheet.

    A subclass sets `name`, the name of its folder in `data_prep.datasets`, and implements `rows`.

    Attributes:
      root: Folder of the release, or a folder above it.
      class_names: Names of the classes, ordered by index.
      landmarks_root: Folder of the landmarks, or None.
      listing: Result of the last `entries()`.
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
        """Open the release in `manual_dir`, with the landmarks in `landmarks_dir`.

        Landmarks are read from `<landmarks_dir>/<subject>/<clip>.csv`; `landmarks.read` describes
        the formats. If one clip holds several expressions, each may have a file of its own,
        `<clip>@<onset>.csv`. Without `landmarks_dir` the clips carry no landmarks.

        Args:
          manual_dir: Folder of the release, or a folder above it.
          landmarks_dir: Folder of the landmarks, or None.
          classes: Name of the map from emotions to classes in `database.toml`, or the path or the
            content of a map of the user's own (`data_prep.class_map`).
          frames: 'raw', 'cropped', or 'auto', which takes the raw frames if both exist.
          sheet: Name of the sheet, if there are several; '' takes the best of the known names.
          corrections: Whether to correct known errors of the sheet.

        Raises:
          UserError: The folder or the map of classes does not exist.
        """
        self._classes, self._frames, self._sheet = classes, frames, sheet
        self._own_map = class_map.read(classes) if class_map.is_own(classes) else None
        self._corrections = corrections
        if not manual_dir:
            raise self.missing_error("no folder is set")
        self.root = Path(manual_dir).expanduser()
        if not self.root.is_dir():
            raise self.missing_error(f"there is no folder {self.root}")
        self.root = self.root.absolute()  # Paths in a sheet may be absolute too.
        emotions = self.emotions()
        self.class_names = tuple(emotions)
        self._class_of_emotion = {word: name for name, words in emotions.items() for word in words}
        self.landmarks_root = landmarks.resolve_folder(landmarks_dir)
        self.listing = Listing()

    @classmethod
    def from_config(cls, config: Any) -> Database:
        """Create the database from the section `data` of a configuration."""
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
        """Return the names of the configured classes, ordered by index."""
        return tuple(database_info(cls.name).emotions(config.data.classes))

    @property
    def info(self) -> DatabaseInfo:
        """The description of the database."""
        return database_info(self.name)

    def emotions(self) -> Mapping[str, list[str]]:
        """Return class -> the emotions of the release that belong to it, in lower case."""
        return self.info.emotions(self._classes)

    @abstractmethod
    def rows(self, repair_log: list[Repair]) -> Iterable[Row]:
        """Yield the rows in the order of the release; append repairs to `repair_log`."""
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """Return where the rows come from, for the description of the data set."""
        own_map = self._own_map
        return {"classes": own_map.section_text(self.name) if own_map else self._classes}

    def entries(self) -> list[FolderEntry]:
        """List the clips of the classes in use; report the repairs in `listing`.

        Raises:
          UserError: The release, its sheet or all of its frames are missing, or a map of the
            user's own lacks an emotion.
        """
        repair_log: list[Repair] = []
        all_rows = list(self.rows(repair_log))
        if not all_rows and not repair_log:
            raise self.missing_error(f"no clip was found below {self.root}")
        distinct = list(distinct_rows(self.name, all_rows, repair_log))
        self._check_emotions(distinct)
        rows = [row for row in distinct if self._has_class(row, repair_log)]
        entries = [entry for row in rows if (entry := self._entry(row, repair_log))]
        counts, source = dict(self.info.counts.get(self._classes, {})), ""
        if counts:
            source = counts.pop("source")
        clips = dict(collections.Counter(entry.label for entry in entries))
        facts = self.facts() | {"frames": self._common_folder(entries)}
        self.listing = Listing(tuple(repair_log), facts, clips, counts, source)
        return entries

    def load(self, entry: FolderEntry) -> Clip:
        """Load a clip: its landmarks now, each of its frames on first use."""
        row, marks = entry.row, entry.marks
        frames = self.open(row)
        selected = self._select_frames(row, frames, marks)
        onset = selected.numbers.index(marks.onset)
        path = self._landmarks_path(row)
        return Clip(
            frames=selected,
            fps=self._fps(row, frames),
            onset=onset,
            apex=None if marks.apex is None else selected.numbers.index(marks.apex),
            offset=selected.numbers.index(marks.offset),
            subject=row.subject,
            clip_id=row.clip_id,
            label=entry.label,
            emotion=row.emotion,
            dataset=self.name,
            first=marks.onset - onset,
            landmarks=landmarks.read(path, frames.numbers.index(marks.onset)) if path else None,
            notes=selected.notes,
        )

    def open(self, row: Row) -> Images | Video:
        """Open the frames of a clip without reading one.

        Raises:
          UserError: The frames cannot be used.
        """
        return Images(frame_paths(row.folder))

    def missing_error(self, reason: str) -> UserError:
        """Create the error that says what is missing, whom to ask and which field to set.

        Args:
          reason: What is missing.
        """
        agreement = (
            "The owners hand out the database under a signed agreement; this program never "
            f"downloads it. {self.info.owner}"
        )
        tree = textwrap.indent(textwrap.dedent(self.info.tree).strip(), "  ")
        parts = (
            f"{self.info.title}\nThe release is missing or incomplete: {reason}.",
            textwrap.fill(agreement, 79) if self.info.owner else "",
            f"Expected layout:\n\n{tree}",
            f"Fix: set its folder:\n\n  --config.data.manual_dir=/path/to/{self.name.upper()}",
        )
        return UserError("\n\n".join(filter(None, parts)))

    def _check_emotions(self, rows: Iterable[Row]) -> None:
        """Raise UserError if a map of the user's own does not sort every emotion."""
        if self._own_map:
            clips = collections.Counter(row.emotion.lower() for row in rows)
            self._own_map.check_emotions(self.name, clips, known_emotions())

    def _has_class(self, row: Row, repair_log: list[Repair]) -> bool:
        if row.emotion.lower() in self._class_of_emotion:
            return True
        reason = f"emotion {row.emotion!r} is outside the classes in use"
        repair_log.append(repairs.left_out_row(row.name(self.name), reason))
        return False

    def _entry(self, row: Row, repair_log: list[Repair]) -> FolderEntry | None:
        """Create the entry of a row; return None if its frames or marks cannot be used."""
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
            selected = self._select_frames(row, frames, marks)
        except (UserError, OSError) as error:
            reason = getattr(error, "strerror", "") or str(error).removeprefix(f"{row.folder}: ")
            stated = f"onset {row.onset}, apex {row.apex}, offset {row.offset} in {folder}"
            repair_log.append(repairs.left_out_row(name, reason, stated))
            return None
        repair_log += [Repair(name, *change) for change in changes]
        apex_reported = any(field == repairs.APEX for field, *_ in (*row.changes, *changes))
        if marks.apex is None and not apex_reported:
            repair_log.append(Repair(name, repairs.APEX, "", "", repairs.NO_APEX))
        label = self._class_of_emotion[row.emotion.lower()]
        entry = FolderEntry(self.name, label, row, marks, "")
        files = [*selected.files, self._landmarks_path(row)]
        return dataclasses.replace(entry, key=entry_key(entry, folder, files))

    def _select_frames(self, row: Row, frames: Images | Video, marks: Marks) -> Images | Video:
        """Select the frames from onset to offset and the context around them."""
        onset, offset = frames.numbers.index(marks.onset), frames.numbers.index(marks.offset)
        if offset - onset >= MAX_MOVEMENT_FRAMES:
            raise UserError(f"more than {MAX_MOVEMENT_FRAMES} frames from onset to offset")
        context = math.ceil(CONTEXT_SECONDS * self._fps(row, frames))
        return frames.part(max(0, onset - context), offset + context + 1)

    def _fps(self, row: Row, frames: Images | Video) -> float:
        return row.fps or frames.fps or self.info.fps

    def _common_folder(self, entries: Sequence[FolderEntry]) -> str:
        """Return the folder that holds the frames of all clips."""
        folders = [entry.row.folder for entry in entries]
        return self.relative_path(Path(os.path.commonpath(folders))) if folders else ""

    def relative_path(self, folder: Path) -> str:
        """Return a folder relative to the release, or unchanged if it lies outside."""
        inside = folder.is_relative_to(self.root)
        return (folder.relative_to(self.root) if inside else folder).as_posix()

    def _landmarks_path(self, row: Row) -> Path | None:
        if not self.landmarks_root:
            return None
        path = self.landmarks_root / row.subject / f"{row.clip_id}.csv"
        # Several expressions of one clip may share one file.
        shared_path = path.with_name(f"{row.clip_id.removesuffix(f'@{row.onset}')}.csv")
        return path if path.is_file() else shared_path
