"""The composite of MEGC 2019 as images of flow that others made: one for each of 442 clips."""

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

MAP = "megc2019"  # the one map from labels to classes
CLASSES = ("negative", "positive", "surprise")  # labels 0, 1 and 2
SUBJECTS: Mapping[str, int] = MappingProxyType({"smic": 16, "casme2": 24, "samm": 28})
IMAGES = "STSNet_whole_norm_u_v_os"
SHEET = "combined_3_class2_for_optical_flow.csv"
COLUMNS = {"dataset": "dataset", "subject": "sub", "clip": "filename_o", "label": "label"}
DEPTH = 3  # folders below that of the user in which the images are looked for
MAX_FAULTS_SHOWN = 10  # files that a refusal names
KIND = pictures.picture_format(np.empty((28, 28, 3), np.uint8))

_MISSING_MESSAGE = f"""\
The composite of MEGC 2019 as images of flow: 442 images, made by others.
{{lack}}

They are in github.com/wangzhifengharrison/HTNet, which has no licence, and
derive from SMIC, CASME II and SAMM, which their owners hand out under signed
agreements. This program never downloads them: see that those agreements allow
you to use them, then clone it yourself.

  HTNet/
    {SHEET}
    datasets/
      {IMAGES}/
        sub01_EP02_01f .png

Then say where it is:

  --config.data.manual_dir=/path/to/HTNet"""


@dataclasses.dataclass(frozen=True)
class Image:
    """One clip: an image, and what the sheet says of it.

    Attributes:
      dataset: name of its database.
      subject: as the sheet writes it.
      clip_id: unique within the subject.
      label: the class.
      file: the image's.
      key: digest of the image and of what the sheet says.
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
    """A listing that knows of subjects too: database -> subjects."""

    subjects: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def deviation(self) -> str:
        """In which classes and subjects there are other numbers than stated; '' in none."""
        differing = [
            f"{name} {self.subjects.get(name, 0)} ({count})"
            for name, count in SUBJECTS.items()
            if self.subjects.get(name, 0) != count
        ]
        if not differing:
            return super().deviation
        people = (
            f"{sum(self.subjects.values())} subjects, where {self.source} states "
            f"{sum(SUBJECTS.values())}. Here (and there): {', '.join(differing)}."
        )
        return " It has ".join(filter(None, [super().deviation, people]))


class Megc2019:
    """Reads the images of `wangzhifengharrison/HTNet` and the sheet beside them.

    Attributes:
      listing: what the last `entries()` found.
    """

    name = "megc2019"
    class_names = CLASSES

    def __init__(self, manual_dir: str):
        """Look for the images in `manual_dir`: the clone, a folder above it, or one of its own.

        Raises:
          UserError: they are not there, or the sheet is not.
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
        """The images that the section `data` of a configuration describes."""
        cls.classes_of(config)
        return cls(config.data.manual_dir)

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """The classes, in the order of their indices.

        Raises:
          UserError: another map is asked for.
        """
        check.one_of(config, {"data.classes": (MAP,)})
        return cls.class_names

    def entries(self) -> list[Image]:
        """List the clips, and read every image: all of them are 1 MB.

        Raises:
          UserError: the sheet or an image cannot be used.
        """
        clips = [self._clip(cells) for cells in self._rows()]
        self._check_unique_images(clips)
        self._check_subjects(clips)
        files = self._image_digests(clip.file for clip in clips)
        entries = [dataclasses.replace(clip, key=_key(clip, files[clip.file])) for clip in clips]
        self.listing = self._listing(entries)
        return entries

    def record(self, entry: Image) -> dict[str, Any]:
        """Read one clip as a record: its image, and what is known of it."""
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
        remedy = f"Its columns are {', '.join(COLUMNS.values())}. {self._restore_remedy()}"
        rows = read_sheet(self.sheet, COLUMNS, remedy)
        if not rows:
            raise self._sheet_error("it names no clip")
        return rows

    def _clip(self, cells: Cells) -> Image:
        """A row of the sheet as a clip."""
        dataset, subject, clip, label = (cells[field] for field in COLUMNS)
        line = f"line {cells['line']}"
        if dataset not in SUBJECTS:
            known = ", ".join(SUBJECTS)
            raise self._sheet_error(f"{line}: dataset is {dataset!r}, which is none of {known}")
        for name in (subject, clip):
            if not name or "/" in name:
                raise self._sheet_error(f"{line}: {name!r} is no name of a subject or a clip")
        if label not in ("0", "1", "2"):
            told = "0 (negative), 1 (positive) or 2 (surprise)"
            raise self._sheet_error(f"{line}: label is {label!r}, which is none of {told}")
        file = self.images / f"{subject}_{clip} .png"
        return Image(dataset, subject, clip, CLASSES[int(label)], file)

    def _check_unique_images(self, clips: Iterable[Image]) -> None:
        """Refuse a clip that is listed twice, and an image of two clips."""
        first: dict[str, Image] = {}
        for clip in clips:
            other = first.setdefault(clip.file.name.casefold(), clip)
            if other is not clip:
                both = clip.name if other.name == clip.name else f"{other.name} and {clip.name}"
                raise self._sheet_error(f"the image {clip.file.name!r} is listed twice, for {both}")

    def _check_subjects(self, clips: Iterable[Image]) -> None:
        """Refuse a subject in two spellings, who would be in training and in test."""
        spelt: dict[tuple[str, str], str] = {}
        for clip in clips:
            plain = (
                database_info(clip.dataset).subject_name(clip.subject) or clip.subject.casefold()
            )
            other = spelt.setdefault((clip.dataset, plain), clip.subject)
            if other != clip.subject:
                raise self._sheet_error(
                    f"{clip.dataset} has a subject {other} and one {clip.subject}"
                )

    def _image_digests(self, files: Iterable[Path]) -> dict[Path, str]:
        """File -> digest of the image in it.

        Raises:
          UserError: for all images at once that cannot be used.
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
            told = "\n".join([*faults[:MAX_FAULTS_SHOWN], *more])
            raise UserError(
                f"{told}\nFix: {self._restore_remedy()} The names end in a blank before .png, which a "
                "program that copies or unpacks may have removed."
            )
        return digests

    def _listing(self, entries: Sequence[Image]) -> CompositeListing:
        clips = collections.Counter(f"{entry.dataset}/{entry.label}" for entry in entries)
        people = {(entry.dataset, entry.subject) for entry in entries}
        subjects = collections.Counter(dataset for dataset, _ in people)
        stated, sources = _stated_counts()
        facts = {
            "classes": MAP,
            "images": f"{self.images.parent.name}/{self.images.name}",
            "sheet": self.sheet.name,
            "sheet_sha256": hashlib.sha256(self.sheet.read_bytes()).hexdigest(),
        }
        for name in SUBJECTS:
            here = _format_counts(name, clips, subjects[name])
            there = _format_counts(name, stated, SUBJECTS[name])
            facts[name] = here if here == there else f"{here} (stated: {there})"
        unnamed = tuple(self._unlisted_images(entries))
        return CompositeListing(unnamed, facts, dict(clips), stated, sources, dict(subjects))

    def _unlisted_images(self, entries: Sequence[Image]) -> Iterator[Repair]:
        """Images that are in no row."""
        for file in sorted({*self.images.glob("*.png")} - {entry.file for entry in entries}):
            clip, reason = f"{self.name}/{file.stem.rstrip()}", "no row of the sheet names it"
            yield Repair(clip, "image", file.name, repairs.LEFT_OUT, reason)

    def _sheet_error(self, reason: str) -> UserError:
        return UserError(f"{self.sheet}: {reason}. Fix: {self._restore_remedy()}")

    def _restore_remedy(self) -> str:
        differ = f"git -C {self.images.parent.parent} status"
        return f"take the files as the repository has them ({differ} says which differ)."


def _missing_error(reason: str) -> UserError:
    return UserError(_MISSING_MESSAGE.format(lack=reason))


def _find_images(root: Path) -> Path:
    """The folder of the images; that of the user may be one within the clone."""
    for folder in search.folders_below(root, DEPTH):
        if folder.name == IMAGES:
            return folder
    raise _missing_error(f"There is no folder {IMAGES} in {root}.")


def _find_sheet(images: Path) -> Path:
    """The sheet: in the clone, or nearer to the images."""
    folders = (images.parent.parent, images.parent, images)
    for folder in folders:
        if (folder / SHEET).is_file():
            return folder / SHEET
    raise _missing_error(f"There are the images, {images},\nbut {folders[0] / SHEET} is not there.")


def _read_image(file: Path) -> np.ndarray:
    """An image: uint8 `[28, 28, 3]`, (u, v, strain)."""
    if not file.is_file():
        raise UserError(f"{file}: it is missing.")
    image = pictures.read(file)
    if pictures.picture_format(image) != KIND:
        raise UserError(f"{file}: {pictures.picture_format(image)}, where {KIND} is wanted.")
    return image


def _key(clip: Image, digest: str) -> str:
    return hashlib.sha256("\0".join([clip.name, clip.label, digest]).encode()).hexdigest()


def _format_counts(database: str, clips: Mapping[str, int], subjects: int) -> str:
    """How many clips there are of a database, from the counts of its classes."""
    count = sum(clips.get(f"{database}/{label}", 0) for label in CLASSES)
    return f"{count} clips of {subjects} subjects"


@functools.cache
def _stated_counts() -> tuple[dict[str, int], str]:
    """Class of each database -> the clips that the challenge has, and who says it."""
    counts = {name: database_info(name).counts[MAP] for name in SUBJECTS}
    stated = {f"{name}/{label}": counts[name][label] for name in counts for label in CLASSES}
    return stated, ", ".join(dict.fromkeys(each["source"] for each in counts.values()))
