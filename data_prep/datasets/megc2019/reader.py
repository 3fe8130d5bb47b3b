"""The composite of MEGC 2019 as published flow images: one for each of 442 clips."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data_prep.common import check
from data_prep.common.errors import UserError
from data_prep.datasets.base import repairs, search
from data_prep.datasets.base.about import database_info
from data_prep.datasets.base.cells import Cells, read_sheet
from data_prep.datasets.base.repairs import Repair
from data_prep.datasets.base.source import Listing
from data_prep.video import pictures

MAP = "megc2019"  # The only map of classes.
CLASSES = ("negative", "positive", "surprise")  # Labels 0, 1 and 2.
SUBJECTS: Mapping[str, int] = MappingProxyType({"smic": 16, "casme2": 24, "samm": 28})
IMAGES = "STSNet_whole_norm_u_v_os"
SHEET = "combined_3_class2_for_optical_flow.csv"
COLUMNS = {"dataset": "dataset", "subject": "sub", "clip": "filename_o", "label": "label"}
DEPTH = 3  # Levels of folders below the user's folder that are searched for the images.
MAX_FAULTS_SHOWN = 10  # Maximum number of files that an error names.
KIND = pictures.picture_format(np.empty((28, 28, 3), np.uint8))

_MISSING_MESSAGE = f"""\
The composite of MEGC 2019 as images of flow: 442 images, published by others.
{{lack}}

They are in github.com/wangzhifengharrison/HTNet, which has no licence, and
derive from SMIC, CASME II and SAMM, which their owners hand out under signed
agreements. This program never downloads them. Check that those agreements
allow you to use the images, then clone the repository yourself:

  HTNet/
    {SHEET}
    datasets/
      {IMAGES}/
        sub01_EP02_01f .png

Fix: set its folder:

  --config.data.manual_dir=/path/to/HTNet"""


@dataclasses.dataclass(frozen=True)
class Image:
    """One clip: an image and its annotation.

    Attributes:
      dataset: Name of its database.
      subject: Subject as the sheet spells it.
      clip_id: Name that is unique within the subject.
      label: Name of the class.
      file: Image file.
      key: Digest of the image and its annotation.
    """

    dataset: str
    subject: str
    clip_id: str
    label: str
    file: Path
    key: str = ""

    @property
    def name(self) -> str:
        """`dataset/subject/clip_id`."""
        return f"{self.dataset}/{self.subject}/{self.clip_id}"


@dataclasses.dataclass(frozen=True)
class CompositeListing(Listing):
    """A listing with the number of subjects as well.

    Attributes:
      subjects: Database -> number of subjects.
    """

    subjects: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def deviation(self) -> str:
        """Sentences on the counts that differ from the published ones, or ''."""
        differing = [
            f"{name} {self.subjects.get(name, 0)} ({count})"
            for name, count in SUBJECTS.items()
            if self.subjects.get(name, 0) != count
        ]
        if not differing:
            return super().deviation
        people = (
            f"{sum(self.subjects.values())} subjects, where {self.source} states "
            f"{sum(SUBJECTS.values())}. Found (stated): {', '.join(differing)}."
        )
        return " It has ".join(filter(None, [super().deviation, people]))


class Megc2019:
    """Reader of the images and the sheet of the repository `wangzhifengharrison/HTNet`.

    Attributes:
      images: Folder of the images.
      sheet: Sheet of the clips.
      listing: Result of the last `entries()`.
    """

    name = "megc2019"
    class_names = CLASSES

    def __init__(self, manual_dir: str):
        """Find the images and the sheet.

        Args:
          manual_dir: Clone of the repository, a folder above it, or a folder within it.

        Raises:
          UserError: The images or the sheet are missing.
        """
        if not manual_dir:
            raise _missing_error("No folder is set.")
        root = Path(manual_dir).expanduser()
        if not root.is_dir():
            raise _missing_error(f"There is no folder {root}.")
        self.images = _find_images(root.absolute())
        self.sheet = _find_sheet(self.images)
        self.listing = Listing()

    @classmethod
    def from_config(cls, config: Any) -> Megc2019:
        """Create the reader from the section `data` of a configuration."""
        cls.classes_of(config)
        return cls(config.data.manual_dir)

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """Return the names of the classes, ordered by index.

        Raises:
          UserError: The configured class map is not that of MEGC 2019.
        """
        check.one_of(config, {"data.classes": (MAP,)})
        return cls.class_names

    def entries(self) -> list[Image]:
        """List the clips and read every image; together they are 1 MB.

        Raises:
          UserError: The sheet or an image cannot be used.
        """
        clips = [self._clip(cells) for cells in self._rows()]
        self._check_unique_images(clips)
        self._check_subjects(clips)
        digests = self._image_digests(clip.file for clip in clips)
        entries = [dataclasses.replace(clip, key=_key(clip, digests[clip.file])) for clip in clips]
        self.listing = self._listing(entries)
        return entries

    def record(self, entry: Image) -> dict[str, Any]:
        """Read one clip as a record: its image `[1, 28, 28, 3]` and its annotation."""
        return {
            "image": _read_image(entry.file)[None],
            "label": CLASSES.index(entry.label),
            "emotion": entry.label,
            "subject": entry.subject,
            "clip_id": entry.clip_id,
            "dataset": entry.dataset,
            "notes": "",
        }

    def _rows(self) -> list[Cells]:
        remedy = f"{self._restore_remedy()} Its columns are {', '.join(COLUMNS.values())}."
        rows = read_sheet(self.sheet, COLUMNS, remedy)
        if not rows:
            raise self._sheet_error("it lists no clip")
        return rows

    def _clip(self, cells: Cells) -> Image:
        """Convert a row of the sheet to a clip."""
        dataset, subject, clip, label = (cells[field] for field in COLUMNS)
        line = f"line {cells['line']}"
        if dataset not in SUBJECTS:
            valid = ", ".join(SUBJECTS)
            raise self._sheet_error(f"{line}: dataset is {dataset!r}; it must be one of {valid}")
        for name in (subject, clip):
            if not name or "/" in name:
                raise self._sheet_error(f"{line}: {name!r} cannot name a subject or a clip")
        if label not in ("0", "1", "2"):
            valid = "0 (negative), 1 (positive) or 2 (surprise)"
            raise self._sheet_error(f"{line}: label is {label!r}; it must be {valid}")
        file = self.images / f"{subject}_{clip} .png"
        return Image(dataset, subject, clip, CLASSES[int(label)], file)

    def _check_unique_images(self, clips: Iterable[Image]) -> None:
        """Refuse a clip that is listed twice and an image that serves two clips."""
        clip_of_image: dict[str, Image] = {}
        for clip in clips:
            first = clip_of_image.setdefault(clip.file.name.casefold(), clip)
            if first is not clip:
                names = clip.name if first.name == clip.name else f"{first.name} and {clip.name}"
                raise self._sheet_error(
                    f"the image {clip.file.name!r} is listed twice, for {names}"
                )

    def _check_subjects(self, clips: Iterable[Image]) -> None:
        """Refuse a subject in two spellings, who would be in training and in test."""
        spellings: dict[tuple[str, str], str] = {}
        for clip in clips:
            plain = (
                database_info(clip.dataset).subject_name(clip.subject) or clip.subject.casefold()
            )
            first = spellings.setdefault((clip.dataset, plain), clip.subject)
            if first != clip.subject:
                raise self._sheet_error(
                    f"{clip.dataset} has one subject in two spellings, {first} and {clip.subject}"
                )

    def _image_digests(self, files: Iterable[Path]) -> dict[Path, str]:
        """Return file -> digest of its pixels.

        Raises:
          UserError: Images cannot be used; the message covers all of them.
        """
        digests, faults = {}, []
        for file in files:
            try:
                digests[file] = hashlib.sha256(_read_image(file).tobytes()).hexdigest()
            except UserError as error:
                faults.append(str(error))
        if faults:
            more = (
                [f"and {len(faults) - MAX_FAULTS_SHOWN} more"]
                if len(faults) > MAX_FAULTS_SHOWN
                else []
            )
            lines = "\n".join([*faults[:MAX_FAULTS_SHOWN], *more])
            raise UserError(
                f"{lines}\nFix: {self._restore_remedy()} The file names have a blank before .png, "
                "which a program that copies or unpacks may have removed."
            )
        return digests

    def _listing(self, entries: Sequence[Image]) -> CompositeListing:
        clips = collections.Counter(f"{entry.dataset}/{entry.label}" for entry in entries)
        distinct_subjects = {(entry.dataset, entry.subject) for entry in entries}
        subjects = collections.Counter(dataset for dataset, _ in distinct_subjects)
        stated, sources = _stated_counts()
        facts = {
            "classes": MAP,
            "images": f"{self.images.parent.name}/{self.images.name}",
            "sheet": self.sheet.name,
            "sheet_sha256": hashlib.sha256(self.sheet.read_bytes()).hexdigest(),
        }
        for name in SUBJECTS:
            actual = _format_counts(name, clips, subjects[name])
            published = _format_counts(name, stated, SUBJECTS[name])
            facts[name] = actual if actual == published else f"{actual} (stated: {published})"
        unlisted = tuple(self._unlisted_images(entries))
        return CompositeListing(unlisted, facts, dict(clips), stated, sources, dict(subjects))

    def _unlisted_images(self, entries: Sequence[Image]) -> Iterator[Repair]:
        """Yield the images that no row names."""
        for file in sorted({*self.images.glob("*.png")} - {entry.file for entry in entries}):
            clip, reason = f"{self.name}/{file.stem.rstrip()}", "no row of the sheet names it"
            yield Repair(clip, "image", file.name, repairs.LEFT_OUT, reason)

    def _sheet_error(self, reason: str) -> UserError:
        return UserError(f"{self.sheet}: {reason}. Fix: {self._restore_remedy()}")

    def _restore_remedy(self) -> str:
        command = f"git -C {self.images.parent.parent} status"
        return f"take the files as the repository has them ({command} shows which differ)."


def _missing_error(reason: str) -> UserError:
    return UserError(_MISSING_MESSAGE.format(lack=reason))


def _find_images(root: Path) -> Path:
    """Find the folder of the images at or below `root`."""
    for folder in search.folders_below(root, DEPTH):
        if folder.name == IMAGES:
            return folder
    raise _missing_error(f"There is no folder {IMAGES} in {root}.")


def _find_sheet(images: Path) -> Path:
    """Find the sheet: at the root of the clone, or nearer to the images."""
    folders = (images.parent.parent, images.parent, images)
    for folder in folders:
        if (folder / SHEET).is_file():
            return folder / SHEET
    raise _missing_error(f"The images are in {images},\nbut {folders[0] / SHEET} is missing.")


def _read_image(file: Path) -> np.ndarray:
    """Read an image: uint8 `[28, 28, 3]`, channels (u, v, strain)."""
    if not file.is_file():
        raise UserError(f"{file}: it is missing.")
    image = pictures.read(file)
    if pictures.picture_format(image) != KIND:
        raise UserError(f"{file}: {pictures.picture_format(image)}; it must be {KIND}.")
    return image


def _key(clip: Image, digest: str) -> str:
    return hashlib.sha256("\0".join([clip.name, clip.label, digest]).encode()).hexdigest()


def _format_counts(database: str, clips: Mapping[str, int], subjects: int) -> str:
    """Format the number of clips and subjects of a database."""
    count = sum(clips.get(f"{database}/{label}", 0) for label in CLASSES)
    return f"{count} clips of {subjects} subjects"


@functools.cache
def _stated_counts() -> tuple[dict[str, int], str]:
    """Return 'database/class' -> published number of clips, and the publication."""
    counts = {name: database_info(name).counts[MAP] for name in SUBJECTS}
    stated = {f"{name}/{label}": counts[name][label] for name in counts for label in CLASSES}
    return stated, ", ".join(dict.fromkeys(table["source"] for table in counts.values()))
