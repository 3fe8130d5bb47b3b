"""Records as ArrayRecord shards, in a folder that TensorFlow Datasets reads; without TensorFlow.

A set lies in `<data_dir>/<data set>/<fingerprint>/1.0.0`; the fingerprint stands for the recipe and
the clips, and both are described in the set's metadata, so that sets made in different ways cannot
be mixed up.

Files are written as the records come. (A tfds builder collects them first, in memory up to 1 GiB,
and needs TensorFlow's files beyond that.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging

from data_prep.clip import Record
from data_prep.common import fields, folders
from data_prep.common.errors import UserError
from data_prep.config import is_images, margin
from data_prep.datasets.base import repairs
from data_prep.datasets.base.repairs import Repair
from data_prep.shards import files as shard_files
from data_prep.stages.identity import Recipe

VERSION = "1.0.0"
TEXTS = ("emotion", "subject", "clip_id", "dataset", "notes")
MARKS = ("onset", "apex", "offset", "apex_index", "apex_estimated", "first")
_DOCUMENTS = (
    Path(__file__).parents[1] / "datasets"
)  # a folder for each database, with its README.md


@dataclasses.dataclass(frozen=True)
class Info:
    """How a set was made.

    Attributes:
      source: the data set's name.
      class_names: in the order of the labels.
      recipe: the fields of the preprocessing, as plain JSON.
      counts: 'written', 'noted', 'dropped' and 'quarantined' clips.
      release: what a database was read from, its clips a class and what is stated of it.
      repairs: what was changed of the annotation and what was left out, as `repairs.Repair`.
      quarantined: name of a clip that failed -> reason.
    """

    source: str
    class_names: tuple[str, ...]
    recipe: dict[str, Any]
    counts: dict[str, int]
    release: dict[str, Any]
    repairs: list[dict[str, str]]
    quarantined: dict[str, str]

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> number of rows that the source left out."""
        return repairs.count_dropped(Repair(**repair) for repair in self.repairs)

    @property
    def repaired(self) -> dict[str, int]:
        """What was repaired, and why -> number of values."""
        return repairs.count_repaired(Repair(**repair) for repair in self.repairs)


class Shards:
    """A finished set: `len(shards)` records, `shards[index]` reads one.

    Arrays and numbers come back as they were written, text as str. The description of the set is
    checked when it is opened, each record when it is read.

    Raises:
      UserError: there is no finished set, or a file of it is damaged.
    """

    def __init__(self, path: Path):
        if not is_finished(path):
            raise UserError(
                f"{path}: no finished set of clips. Fix: python -m data_prep --config=..."
            )
        _check_description(path)
        with _quiet():
            builder: Any = tfds.builder_from_directory(str(path))
            self._records = builder.as_data_source(
                shard_files.SPLIT, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        split = builder.info.splits[shard_files.SPLIT]
        ends = itertools.accumulate(split.shard_lengths)
        self.files = dict(zip(map(Path, split.filepaths), itertools.pairwise([0, *ends])))
        self._features = builder.info.features
        self.info = Info(**_read_metadata(path, builder.info.metadata))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> Record:
        stored = self._features.deserialize_example_np(self.serialized(index))
        return {
            name: value.decode() if name in TEXTS else value  # tfds gives text as bytes
            for name, value in stored.items()
        }

    def serialized(self, index: SupportsIndex) -> bytes:
        """A record as it was written: a serialized `tf.train.Example`."""
        if not 0 <= index.__index__() < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            stored = self._records[index]
        except RuntimeError as error:  # ArrayRecord has a hash for all that a record is read from
            raise folders.damaged_file_error(self._file(index), _first_line(error)) from error
        if not stored:  # so it answers for a file that was cut off between two of its blocks
            raise folders.damaged_file_error(self._file(index), "its end is missing")
        return stored

    def _file(self, index: SupportsIndex) -> Path:
        return next(file for file, (_, end) in self.files.items() if index.__index__() < end)


def set_path(data_dir: Path, name: str, fingerprint: str) -> Path:
    """Where the set of that data set and fingerprint lies."""
    return Path(data_dir) / name / fingerprint / VERSION


def is_finished(path: Path) -> bool:
    """Whether a whole set lies there: the folder gets its name only when all is written."""
    return (Path(path) / "dataset_info.json").is_file()


def load_shards(path: Path | str, recipe: Recipe | None = None) -> Shards:
    """Open a set of prepared clips.

    Args:
      path: The set's folder, as `prepare` gives it.
      recipe: The recipe that the set must have been made with; None accepts any.

    Returns:
      The set, of which `shards[index]` reads a record.

    Raises:
      UserError: No finished set is there, or it was made with another recipe. The fields that
        differ are listed.
    """
    shards = Shards(Path(path))
    if recipe is not None:
        differing = differences(shards.info.recipe, recipe)
        if differing:
            raise UserError(
                f"{path}: made with another recipe:\n  " + "\n  ".join(differing) + "\n"
                "Fix: python -m data_prep with the present configuration, or set these fields."
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
      records: of `data_prep.pipeline.record`, in the order in which they are to be read.
      data_dir: the folder that holds all sets.
      name: the data set's name.
      fingerprint: names the recipe and the clips.
      recipe: what the records were made with.
      class_names: in the order of the labels.
      describe: gives what `Info` has beside the arguments here; called when the records are
        at their end, so that they may be counted on the way.

    Returns:
      The set's folder.

    Raises:
      UserError: when there is no record at all.
    """
    path = set_path(data_dir, name, fingerprint)
    if path.exists() and not is_finished(path):
        raise UserError(f"{path}: not a whole set of clips. Fix: remove this folder.")
    features = _features(recipe, class_names)
    serialized = (shard_files.serialize(features, record) for record in records)
    try:
        with folders.atomic_folder(path) as folder, _quiet():
            split = shard_files.write(serialized, folder, name)
            if not split.num_examples:
                raise UserError(_no_clips_message(name, describe()["quarantined"]))
            about = {"source": name, "class_names": list(class_names), **describe()}
            tfds.folder_dataset.write_metadata(
                data_dir=str(folder),
                features=features,
                split_infos=[split],
                version=VERSION,
                filename_template=shard_files.file_template(folder, name),
                check_data=False,  # that would need TensorFlow
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict(about | {"recipe": fields.json_roundtrip(recipe)}),
                **_documents(name),
            )
    except OSError:
        if not is_finished(path):  # else another process made the same set meanwhile
            raise
    return path


def _check_description(path: Path) -> None:
    """Compare all but the shards, whose records ArrayRecord itself checks, with their digests."""
    for name, digest in folders.read_checksums(path).items():
        if not shard_files.is_shard(name):
            folders.verify_checksum(path / name, digest)


def _features(recipe: Recipe, class_names: Iterable[str]) -> tfds.features.FeaturesDict:
    own = _image_features(recipe) if is_images(recipe) else _video_features(recipe)
    return tfds.features.FeaturesDict(
        {
            **own,
            "label": tfds.features.ClassLabel(names=list(class_names)),
            **{name: tfds.features.Text() for name in TEXTS},
        }
    )


def _image_features(recipe: Recipe) -> dict[str, Any]:
    side = recipe["size"]
    return {"image": _array(np.uint8, recipe["steps"], side, side, 3)}


def _video_features(recipe: Recipe) -> dict[str, Any]:
    side, steps = recipe["size"] + 2 * margin(recipe["size"]), recipe["steps"]
    return {
        "flow": _array(np.float16, steps, side, side, 2),
        "frames": _array(np.uint8, steps + 1, side, side, 1),
        "positions": _array(np.float32, steps + 1),
        **{name: tfds.features.Scalar(np.int64) for name in MARKS},
        "fps": tfds.features.Scalar(np.float64),
    }


def _array(dtype: type[np.generic], *shape: int) -> tfds.features.Tensor:
    raw = tfds.features.Encoding.BYTES
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=raw)


def _no_clips_message(name: str, quarantined: Mapping[str, str]) -> str:
    if not quarantined:
        return f"{name}: the data set has no clip of the classes in use."
    clip, reason = next(iter(quarantined.items()))
    return f"{name}: every one of its {len(quarantined)} clips failed. The first, {clip}:\n{reason}"


def _documents(name: str) -> dict[str, str]:
    """What is known of the database, for the set's description."""
    folder = _DOCUMENTS / name
    if not folder.is_dir():
        return {"description": f"Micro-expressions: {name}"}
    return {
        "description": (folder / "README.md").read_text(encoding="utf-8"),
        "citation": (folder / "CITATIONS.bib").read_text(encoding="utf-8"),
    }


def _read_metadata(path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Info)]
    if not {*names} <= metadata.keys():
        raise UserError(
            f"{path}: made by an earlier version of this program. Fix: prepare the clips again, "
            "python -m data_prep with the same configuration."
        )
    return {name: metadata[name] for name in names} | {
        "class_names": tuple(metadata["class_names"])
    }


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


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
