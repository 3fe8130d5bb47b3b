"""Sets of records as ArrayRecord shards, readable by TensorFlow Datasets; without TensorFlow.

A set is in `<data_dir>/<data set>/<fingerprint>/1.0.0`. The fingerprint stands for the recipe and
the clips, and the set's metadata describe both, so that sets made in different ways cannot be
confused.

Files are written as the records arrive. (A tfds builder would first collect them, up to 1 GiB in
memory, and it needs TensorFlow's files beyond that.)
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
# One folder per database, with a README.md.
_DOCUMENTS = Path(__file__).parents[1] / "datasets"


@dataclasses.dataclass(frozen=True)
class Info:
    """The metadata of a set: how it was made.

    Attributes:
      source: Name of the data set.
      class_names: Classes in the order of the labels.
      recipe: Fields of the preprocessing, as plain JSON.
      counts: Numbers of 'written', 'noted', 'dropped' and 'quarantined' clips.
      release: What was read of a database, its clips per class, and the stated numbers.
      repairs: Changes of the annotation and rows left out, as fields of `repairs.Repair`.
      quarantined: Name of a failed clip -> reason.
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
        """Kind and reason of a repair -> number of repaired values."""
        return repairs.count_repaired(Repair(**repair) for repair in self.repairs)


class Shards:
    """A finished set: `len(shards)` records; `shards[index]` reads one.

    Arrays and numbers come back as they were written, text as str. The description of the set is
    verified when it is opened, each record when it is read.

    Raises:
      UserError: There is no finished set, or one of its files is damaged.
    """

    def __init__(self, path: Path):
        if not is_finished(path):
            raise UserError(
                f"{path}: no finished set of clips. Fix: run python -m data_prep --config=..."
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
        example = self._features.deserialize_example_np(self.serialized(index))
        return {
            name: value.decode() if name in TEXTS else value  # tfds returns text as bytes.
            for name, value in example.items()
        }

    def serialized(self, index: SupportsIndex) -> bytes:
        """Return the bytes of a record, a serialized `tf.train.Example`."""
        if not 0 <= index.__index__() < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            record_bytes = self._records[index]
        except RuntimeError as error:  # ArrayRecord checks a hash of all bytes that it reads.
            raise folders.damaged_file_error(self._file(index), _first_line(error)) from error
        if not record_bytes:  # ArrayRecord's answer if the file is truncated between blocks.
            raise folders.damaged_file_error(self._file(index), "its end is missing")
        return record_bytes

    def _file(self, index: SupportsIndex) -> Path:
        return next(file for file, (_, end) in self.files.items() if index.__index__() < end)


def set_path(data_dir: Path, name: str, fingerprint: str) -> Path:
    """Return the folder of the set of a data set and fingerprint."""
    return Path(data_dir) / name / fingerprint / VERSION


def is_finished(path: Path) -> bool:
    """Return whether `path` holds a complete set.

    The folder gets its name only when everything is written.
    """
    return (Path(path) / "dataset_info.json").is_file()


def load_shards(path: Path | str, recipe: Recipe | None = None) -> Shards:
    """Open a set of prepared clips.

    Args:
      path: Folder of the set, `PreparedSet.path`.
      recipe: Recipe that the set must have been made with; None accepts any.

    Returns:
      The set. `shards[index]` reads a record.

    Raises:
      UserError: There is no finished set, or it was prepared with other settings. The message lists
        the fields that differ.
    """
    shards = Shards(Path(path))
    if recipe is not None:
        differing = differences(shards.info.recipe, recipe)
        if differing:
            raise UserError(
                f"{path}: prepared with other settings:\n  " + "\n  ".join(differing) + "\n"
                "Fix: prepare it again with python -m data_prep, or set these fields as the set "
                "has them."
            )
    return shards


def differences(stored: Recipe, wanted: Recipe) -> list[str]:
    """Format one line for each field that differs between two recipes."""
    return [
        f"prep.{field}: the set has {stored_value}, the configuration {wanted_value}"
        for field, stored_value, wanted_value in fields.differences(stored, wanted)
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
    """Write a set completely, or not at all.

    Args:
      records: Records of `data_prep.pipeline.record`, in reading order.
      data_dir: Folder of all sets.
      name: Name of the data set.
      fingerprint: Digest of the recipe and the clips.
      recipe: Recipe that the records were made with.
      class_names: Classes in the order of the labels.
      describe: Returns the fields of `Info` that are not arguments here. Called after the last
        record, so that it can use counts made on the way.

    Returns:
      The folder of the set.

    Raises:
      UserError: There is no record.
    """
    path = set_path(data_dir, name, fingerprint)
    if path.exists() and not is_finished(path):
        raise UserError(f"{path}: not a complete set of clips. Fix: remove this folder.")
    features = _features(recipe, class_names)
    serialized = (shard_files.serialize(features, record) for record in records)
    with folders.atomic_folder(path) as folder, _quiet():
        split = shard_files.write(serialized, folder, name)
        if not split.num_examples:
            raise UserError(_no_clips_message(name, describe()["quarantined"]))
        metadata = {"source": name, "class_names": list(class_names), **describe()}
        tfds.folder_dataset.write_metadata(
            data_dir=str(folder),
            features=features,
            split_infos=[split],
            version=VERSION,
            filename_template=shard_files.file_template(folder, name),
            check_data=False,  # The check would need TensorFlow.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(metadata | {"recipe": fields.json_roundtrip(recipe)}),
            **_documents(name),
        )
    return path


def _check_description(path: Path) -> None:
    """Verify the checksums of all files except the shards.

    ArrayRecord itself verifies the records of a shard.
    """
    for name, digest in folders.read_checksums(path).items():
        if not shard_files.is_shard(name):
            folders.verify_checksum(path / name, digest)


def _features(recipe: Recipe, class_names: Iterable[str]) -> tfds.features.FeaturesDict:
    clip_features = _image_features(recipe) if is_images(recipe) else _video_features(recipe)
    return tfds.features.FeaturesDict(
        {
            **clip_features,
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
        return f"{name}: the data set has no clip of the configured classes."
    clip, reason = next(iter(quarantined.items()))
    return f"{name}: no usable clip, {len(quarantined)} failed. The first, {clip}:\n{reason}"


def _documents(name: str) -> dict[str, str]:
    """Return the description and citation of a database for the set's metadata."""
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
            "with python -m data_prep and the same configuration."
        )
    return {name: metadata[name] for name in names} | {
        "class_names": tuple(metadata["class_names"])
    }


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turn off the progress bars and log messages of tfds within the block."""
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    tfds.display_progress_bar(False)
    try:
        yield
    finally:
        tfds.display_progress_bar(True)
        absl_logging.set_verbosity(verbosity)
