"""Databases that come with a spreadsheet; lines above its header row are ignored."""

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

Key = tuple[str, str]  # (subject, clip)


class SheetDatabase(Database):
    """A database whose sheet states subject, clip, onset, apex, offset and emotion in each row.

    The frames of a clip are in `<subject>/<clip>/`, unless a subclass overrides `folders`.
    """

    def rows(self, repair_log: list[Repair]) -> Iterator[Row]:
        """Yield the rows of the sheet that have names, an onset and an offset."""
        rows = [self._normalize_names(cells) for cells in self._read()]
        frames = self.find_frames_folder(rows)
        clip_folders = self.folders(frames)
        for cells in rows:
            changes = self._changes(cells)
            corrected = cells | {field: now for field, _, now, _ in changes}
            key = cells["subject"], cells["clip"]
            fault = _fault(corrected)
            if fault:
                stated = f"line {cells['line']}: {corrected['onset']} and {corrected['offset']}"
                repair_log.append(repairs.left_out_row("/".join((self.name, *key)), fault, stated))
                continue
            existing = (clip_folders[k] for k in self.keys(cells) if k in clip_folders)
            folder = next(existing, frames.joinpath(*key))
            marks = (parse_frame(corrected[mark]) for mark in ("onset", "apex", "offset"))
            yield Row(*key, cells["emotion"], folder, *marks, changes=changes)
        repair_log += self._unlisted_folders(clip_folders, rows)

    def facts(self) -> dict[str, str]:
        """Return the map of classes, and the sheet's name and SHA-256."""
        sheet = self.sheet
        digest = hashlib.sha256(sheet.read_bytes()).hexdigest()
        return super().facts() | {"sheet": sheet.name, "sheet_sha256": digest}

    def folders(self, root: Path) -> dict[Key, Path]:
        """Return (subject, clip) -> folder of its frames.

        Args:
          root: Folder that holds the frames of the release.
        """
        return {
            (self.info.subject_name(subject.name), self.clip_name(clip.name)): clip
            for subject in search.subfolders(root)
            for clip in search.subfolders(search.innermost(subject))
        }

    def keys(self, cells: Cells) -> list[Key]:
        """Return the keys of `folders` that may hold the frames of a row, likeliest first."""
        return [(cells["subject"], cells["clip"])]

    def clip_name(self, text: str) -> str:
        """Return the canonical spelling of a clip's name, for the sheet and the folders."""
        return text

    @functools.cached_property
    def sheet(self) -> Path:
        """The sheet: the one in `config.data.sheet`, or the first file with a known name.

        Raises:
          UserError: There is no such sheet.
        """
        patterns = self.info.sheet["files"]
        if self._sheet:
            name = Path(self._sheet).expanduser()
            candidates = (folder / name for folder in search.folders_below(self.root))
        else:
            candidates = (file for glob in patterns for file in search.files(self.root, glob))
        for path in candidates:
            if path.is_file():
                return path
        expected = self._sheet or patterns[0]
        raise self.missing_error(f"{self.root} holds no sheet {expected}; {self._frames_message()}")

    def find_frames_folder(self, rows: Sequence[Cells]) -> Path:
        """Find the folder of the frames.

        It is the first that holds more than half of the sheet's clips, else the one with the most.

        Args:
          rows: Rows of the sheet.

        Raises:
          UserError: No folder holds a clip of the sheet.
        """
        counts: dict[Path, int] = {}  # Clips of the sheet in each folder.
        for folder in search.candidates(self.root, self._frames):
            clips = self.folders(folder)
            counts[folder] = sum(any(key in clips for key in self.keys(cells)) for cells in rows)
            if 2 * counts[folder] > len(rows):
                return folder
        if any(counts.values()):
            return max(counts, key=counts.__getitem__)
        kind = "" if self._frames == "auto" else f"{self._frames} "
        keys = (key for cells in rows for key in self.keys(cells))
        hint = "; --config.data.frames=auto takes the others too" if kind else ""
        raise self.missing_error(
            f"{self.root} holds no {kind}folder of a clip in {self.sheet.name}, such as "
            + "/".join(min(keys, default=("", "")))
            + hint
        )

    def _read(self) -> list[Cells]:
        sheet = self.sheet
        try:
            return read_sheet(sheet, self.info.sheet)
        except UserError as error:
            raise UserError(f"{error}\nNote: {self._frames_message()}.") from error

    def _frames_message(self) -> str:
        """Describe the frames found, for a message about a sheet that cannot be used."""
        for folder in search.candidates(self.root, self._frames):
            clips = sum(map(search.holds_frames, self.folders(folder).values()))
            if clips:
                return f"frames of {clips} clips are in {folder}"
        return "there is no folder of frames either"

    def _unlisted_folders(
        self, clips: Mapping[Key, Path], rows: Iterable[Cells]
    ) -> Iterator[Repair]:
        """Yield the folders of frames that no row names.

        Their names may be wrong, or the sheet may be of another date.
        """
        keys_of_rows = {key for cells in rows for key in self.keys(cells)}
        for key, folder in clips.items():
            if key not in keys_of_rows and search.holds_frames(folder):
                name = "/".join((self.name, *key))
                was, reason = self.relative_path(folder), "no row of the sheet names it"
                yield Repair(name, "folder", was, repairs.LEFT_OUT, reason)

    def _normalize_names(self, cells: Cells) -> Cells:
        """Return the row with the canonical spelling of its subject and its clip."""
        subject, clip = cells["subject"], cells["clip"]
        return cells | {
            "subject": self.info.subject_name(subject),
            "clip": self.clip_name(clip),
        }

    def _changes(self, cells: Cells) -> tuple[Change, ...]:
        """Return the corrections of a row's known errors and of an apex without a number."""
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
    """Return why a row cannot be used, judged by its cells alone; '' if it can."""
    if not (cells["subject"] and cells["clip"]):
        return "no subject or no clip is named"
    if None in (parse_frame(cells["onset"]), parse_frame(cells["offset"])):
        return "no frame number for onset or offset"
    return ""


def _has_error(cells: Cells, error: KnownError) -> bool:
    """Return whether a row still has a known error."""
    if error.row:
        return error.row == cells["row"] and _is_impossible_offset(cells, error)
    stated = cells["subject"], cells["clip"], cells[error.field]
    same_onset = error.onset in ("", cells["onset"])
    return same_onset and stated == (error.subject, error.clip, error.stated)


def _is_impossible_offset(cells: Cells, error: KnownError) -> bool:
    """Return whether only the corrected offset is possible, not the sheet's."""
    onset, offset = parse_frame(cells["onset"]), parse_frame(cells["offset"])
    if onset is None or error.field != "offset":
        return False
    return (offset is None or offset <= onset) and onset < int(error.right)
