"""Databases that come with a spreadsheet, whatever stands above its header row."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_prep.common.errors import UserError
from data_prep.datasets.base import repairs, search
from data_prep.datasets.base.about import KnownError
from data_prep.datasets.base.cells import Cells, parse_frame, read_sheet
from data_prep.datasets.base.database import Database
from data_prep.datasets.base.marks import Change
from data_prep.datasets.base.repairs import Repair
from data_prep.datasets.base.rows import Row

Key = tuple[str, str]  # subject, clip


class SheetDatabase(Database):
    """A database whose sheet names subject, clip, onset, apex, offset and emotion a row.

    The frames of a clip are in `<subject>/<clip>/`, unless a subclass has other `folders`.
    """

    def rows(self, repair_log: list[Repair]) -> Iterator[Row]:
        """Yield the sheet's rows; one without a name, an onset or an offset is left out."""
        rows = [self._normalize_names(cells) for cells in self._read()]
        frames = self.find_frames_folder(rows)
        clips = self.folders(frames)
        for cells in rows:
            changes = self._changes(cells)
            right = cells | {field: now for field, _, now, _ in changes}
            clip = cells["subject"], cells["clip"]
            fault = _fault(right)
            if fault:
                stated = f"line {cells['line']}: {right['onset']} and {right['offset']}"
                repair_log.append(repairs.left_out_row("/".join((self.name, *clip)), fault, stated))
                continue
            there = (clips[key] for key in self.keys(cells) if key in clips)
            folder = next(there, frames.joinpath(*clip))
            marks = (parse_frame(right[mark]) for mark in ("onset", "apex", "offset"))
            yield Row(*clip, cells["emotion"], folder, *marks, changes=changes)
        repair_log += self._unlisted_folders(clips, rows)

    def facts(self) -> dict[str, str]:
        """What the rows were read from: the sheet with its digest, and the folder of the frames."""
        sheet = self.sheet
        digest = hashlib.sha256(sheet.read_bytes()).hexdigest()
        return super().facts() | {"sheet": sheet.name, "sheet_sha256": digest}

    def folders(self, root: Path) -> dict[Key, Path]:
        """(subject, clip) -> folder of its frames, where the release's frames are in `root`."""
        return {
            (self.info.subject_name(subject.name), self.clip_name(clip.name)): clip
            for subject in search.subfolders(root)
            for clip in search.subfolders(search.innermost(subject))
        }

    def keys(self, cells: Cells) -> list[Key]:
        """Under which keys of `folders` a row, as stated, may have frames; the likeliest first."""
        return [(cells["subject"], cells["clip"])]

    def clip_name(self, text: str) -> str:
        """A clip's one spelling in the sheet and in the folders' names."""
        return text

    @functools.cached_property
    def sheet(self) -> Path:
        """The sheet: that of `config.data.sheet`, or the first of the known names that is there.

        Raises:
          UserError: there is none.
        """
        patterns = self.info.sheet["files"]
        if self._sheet:
            named = Path(self._sheet).expanduser()
            found = (folder / named for folder in search.folders_below(self.root))
        else:
            found = (file for each in patterns for file in search.files(self.root, each))
        for path in found:
            if path.is_file():
                return path
        wanted = self._sheet or patterns[0]
        raise self.missing_error(f"{self.root} holds no sheet {wanted}; {self._frames_message()}")

    def find_frames_folder(self, rows: Sequence[Cells]) -> Path:
        """The first folder that holds most of the sheet's clips, or else the one with most of them.

        Raises:
          UserError: there is none.
        """
        held: dict[Path, int] = {}
        for folder in search.candidates(self.root, self._frames):
            clips = self.folders(folder)
            held[folder] = sum(any(key in clips for key in self.keys(cells)) for cells in rows)
            if 2 * held[folder] > len(rows):
                return folder
        if any(held.values()):
            return max(held, key=held.__getitem__)
        kind = "" if self._frames == "auto" else f"{self._frames} "
        wanted = (key for cells in rows for key in self.keys(cells))
        others = "; --config.data.frames=auto takes the others too" if kind else ""
        raise self.missing_error(
            f"{self.root} holds no {kind}folder of a clip in {self.sheet.name}, such as "
            + "/".join(min(wanted, default=("", "")))
            + others
        )

    def _read(self) -> list[Cells]:
        sheet = self.sheet
        try:
            return read_sheet(sheet, self.info.sheet)
        except UserError as error:
            raise UserError(f"{error}\nBeside that, {self._frames_message()}.") from error

    def _frames_message(self) -> str:
        """Whether there are frames, where the sheet cannot say which."""
        for folder in search.candidates(self.root, self._frames):
            clips = sum(map(search.holds_frames, self.folders(folder).values()))
            if clips:
                return f"frames of {clips} clips are in {folder}"
        return "there is no folder of frames either"

    def _unlisted_folders(
        self, clips: Mapping[Key, Path], rows: Iterable[Cells]
    ) -> Iterator[Repair]:
        """Folders of frames that are in no row: of a sheet of another date, or badly named."""
        named = {key for cells in rows for key in self.keys(cells)}
        for key, folder in clips.items():
            if key not in named and search.holds_frames(folder):
                name = "/".join((self.name, *key))
                was, reason = self.relative_path(folder), "no row of the sheet names it"
                yield Repair(name, "folder", was, repairs.LEFT_OUT, reason)

    def _normalize_names(self, cells: Cells) -> Cells:
        """The row with the one spelling of its subject and its clip."""
        subject, clip = cells["subject"], cells["clip"]
        return cells | {
            "subject": self.info.subject_name(subject),
            "clip": self.clip_name(clip),
        }

    def _changes(self, cells: Cells) -> tuple[Change, ...]:
        """What corrects the known errors that a row still has, and an apex that is no number."""
        errors = self.info.errors if self._corrections else ()
        changes = [
            (error.field, cells[error.field], error.right, error.source)
            for error in errors
            if _has_error(cells, error)
        ]
        if cells["apex"] and parse_frame(cells["apex"]) is None:
            changes.append(("apex", cells["apex"], "", repairs.NO_APEX))
        return tuple(changes)


def _fault(cells: Cells) -> str:
    """Why a row cannot be used, as far as it tells itself; '' where it can."""
    if not (cells["subject"] and cells["clip"]):
        return "no subject or no clip is named"
    if None in (parse_frame(cells["onset"]), parse_frame(cells["offset"])):
        return "no frame number for onset or offset"
    return ""


def _has_error(cells: Cells, error: KnownError) -> bool:
    """Whether a row still has an error."""
    if error.row:
        return error.row == cells["row"] and _is_impossible_offset(cells, error)
    where = cells["subject"], cells["clip"], cells[error.field]
    this = error.onset in ("", cells["onset"])
    return this and where == (error.subject, error.clip, error.stated)


def _is_impossible_offset(cells: Cells, error: KnownError) -> bool:
    """Whether the offset that is stated cannot be one, and the right one can."""
    onset, offset = parse_frame(cells["onset"]), parse_frame(cells["offset"])
    if onset is None or error.field != "offset":
        return False
    return (offset is None or offset <= onset) and onset < int(error.right)
