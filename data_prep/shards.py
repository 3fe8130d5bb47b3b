"""Records as ArrayRecord shards: a tfds builder to write them, and reading at random.

Neither needs TensorFlow. A set lies in `<data_dir>/<data set>/<fingerprint>/1.0.0`; the
fingerprint stands for the recipe and the clips, and both are described in the set's metadata, so
that sets made in different ways cannot be mixed up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging

from data_prep import fields
from data_prep.config import margin
from data_prep.errors import UserError
from data_prep.record import Recipe, Record

VERSION = "1.0.0"
SPLIT = "clips"  # the only one; tfds reserves the name 'all' for the sum of the splits
TEXTS = ("emotion", "subject", "clip_id", "dataset")
_DOCUMENTS = Path(__file__).parent / "datasets"  # a folder for each database, with its README.md


@dataclasses.dataclass(frozen=True)
class Info:
    """How a set was made.

    Attributes:
      source: the data set's name.
      class_names: in the order of the labels.
      recipe: the fields of the preprocessing, as plain JSON.
      counts: 'written', 'dropped' and 'quarantined' clips.
      dropped: reason -> number of rows that the source left out.
      quarantined: name of a clip that failed -> reason.
    """

    source: str
    class_names: tuple[str, ...]
    recipe: dict[str, Any]
    counts: dict[str, int]
    dropped: dict[str, int]
    quarantined: dict[str, str]


class Shards:
    """A finished set: `len(shards)` records, `shards[index]` reads one.

    Arrays and numbers come back as they were written, text as str.
    """

    def __init__(self, path: Path):
        if not is_finished(path):
            raise UserError(
                f"{path}: no finished set of clips. Remedy: python -m data_prep --config=..."
            )
        with _quiet():
            builder: Any = tfds.builder_from_directory(str(path))
            self._records = builder.as_data_source("all")
        self.info = Info(**_read_metadata(builder.info.metadata))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> Record:
        stored = self._records[index]
        return {
            name: value.decode() if name in TEXTS else value  # tfds gives text as bytes
            for name, value in stored.items()
        }


def set_path(data_dir: Path, name: str, fingerprint: str) -> Path:
    """Where the set of that data set and fingerprint lies."""
    return Path(data_dir) / name / fingerprint / VERSION


def is_finished(path: Path) -> bool:
    """Whether a whole set lies there: tfds renames the folder only when all is written."""
    return (Path(path) / "dataset_info.json").is_file()


def load(path: Path | str, recipe: Recipe | None = None) -> Shards:
    """Open a set.

    Args:
      path: the set's folder, as `prepare` gives it.
      recipe: when given, the recipe that the set must have been made with.

    Raises:
      UserError: when no finished set is there, or it was made with another recipe; the fields
        that differ are listed.
    """
    shards = Shards(Path(path))
    if recipe is not None:
        differing = differences(shards.info.recipe, recipe)
        if differing:
            raise UserError(
                f"{path}: made with another recipe:\n  " + "\n  ".join(differing) + "\n"
                "Remedy: python -m data_prep with the present configuration, or set these fields."
            )
    return shards


def differences(stored: Recipe, wanted: Recipe) -> list[str]:
    """One line for each field that is not equal in two recipes."""
    return [
        f"prep.{field}: the set has {old}, the configuration {new}"
        for field, old, new in fields.differences(stored, wanted)
    ]


def write(
    records: Iterable[Record],
    *,
    data_dir: Path,
    name: str,
    fingerprint: str,
    recipe: Recipe,
    class_names: tuple[str, ...],
    describe: Callable[[], dict[str, Any]],
) -> Path:
    """Write a set: whole, or not at all.

    Args:
      records: of `data_prep.record`, in the order in which they are to be read.
      data_dir: the folder that holds all sets.
      name: the data set's name.
      fingerprint: names the recipe and the clips.
      recipe: what the records were made with.
      class_names: in the order of the labels.
      describe: gives 'counts', 'dropped' and 'quarantined' of `Info`; called when the records are
        at their end, so that they may be counted on the way.

    Returns:
      The set's folder.

    Raises:
      UserError: when there is no record at all.
    """
    path = set_path(data_dir, name, fingerprint)
    if path.exists() and not is_finished(path):  # tfds would take it for the whole set
        raise UserError(f"{path}: not a whole set of clips. Remedy: remove this folder.")
    metadata = {"source": name, "class_names": list(class_names), "recipe": fields.plain(recipe)}
    builder_class = type(
        "Builder",
        (_Builder,),
        {"name": name, "pkg_dir_path": _documents(name)},
        skip_registration=True,
    )
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        builder = builder_class(
            records=records,
            metadata=metadata,
            describe=describe,
            data_dir=str(data_dir),
            config=tfds.core.BuilderConfig(name=fingerprint, version=VERSION),
            file_format="array_record",
        )
        # Nothing is ever downloaded, but tfds makes the folder for it.
        try:
            builder.download_and_prepare(download_dir=scratch)
        except FileExistsError:  # another process made the same set meanwhile
            if not is_finished(path):
                raise
    return path


class _Info(tfds.core.DatasetInfo):
    """Metadata that are never looked for in a bucket on the network."""

    def initialize_from_bucket(self) -> None:
        """Do nothing: the original also leaves a temporary folder behind each time."""


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes one set; `write` names a subclass after the data set."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, records, metadata, describe, **kwargs):
        self._records = records
        self._stored = tfds.core.MetadataDict(metadata)
        self._describe = describe
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        documents = self.get_metadata()
        return _Info(
            builder=self,
            description=documents.description or f"Micro-expressions: {self.name}",
            citation=documents.citation,
            features=_features(self._stored["recipe"], self._stored["class_names"]),
            metadata=self._stored,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self):
        index = -1
        for index, record in enumerate(self._records):
            yield index, record
        if index < 0:
            raise UserError(_nothing_left(self.name, self._describe()["quarantined"]))
        self._stored.update(self._describe())

    def _log_download_bytes(self) -> None:
        """Say nothing: nothing is downloaded."""

    def _log_download_done(self) -> None:
        """Say nothing: the caller does."""


def _features(recipe: Recipe, class_names: list[str]) -> tfds.features.FeaturesDict:
    side, steps = recipe["size"] + 2 * margin(recipe["size"]), recipe["steps"]
    array = tfds.features.Tensor
    raw = tfds.features.Encoding.BYTES
    return tfds.features.FeaturesDict(
        {
            "flow": array(shape=(steps, side, side, 2), dtype=np.float16, encoding=raw),
            "frames": array(shape=(steps + 1, side, side, 1), dtype=np.uint8, encoding=raw),
            "label": tfds.features.ClassLabel(names=class_names),
            **{name: tfds.features.Text() for name in TEXTS},
            **{
                name: tfds.features.Scalar(np.int64)
                for name in ("onset", "apex", "offset", "apex_index")
            },
            "fps": tfds.features.Scalar(np.float64),
        }
    )


def _nothing_left(name: str, quarantined: Mapping[str, str]) -> str:
    if not quarantined:
        return f"{name}: the data set has no clip of the classes in use."
    clip, reason = next(iter(quarantined.items()))
    return f"{name}: every one of its {len(quarantined)} clips failed. The first, {clip}:\n{reason}"


def _documents(name: str) -> Path:
    """The folder with the data set's README.md, CITATIONS.bib and TAGS.txt."""
    folder = _DOCUMENTS / name
    return folder if folder.is_dir() else _DOCUMENTS


def _read_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Info)]
    return {name: metadata[name] for name in names} | {
        "class_names": tuple(metadata["class_names"])
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no notes of tfds: ours say what goes on."""
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    tfds.display_progress_bar(False)
    try:
        yield
    finally:
        tfds.display_progress_bar(True)
        absl_logging.set_verbosity(verbosity)
