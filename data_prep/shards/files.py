"""Records as bytes in ArrayRecord files of bounded size, written one after the other."""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

FORMAT = "array_record"
SPLIT = "clips"  # The only split. tfds reserves the name 'all' for the union of splits.
FULL = 128 << 20  # Bytes after which a file is closed: about 80 clips at full size.


def file_template(folder: Path, name: str) -> tfds.core.ShardedFileTemplate:
    """Return tfds's names of a data set's files.

    Example: `samm-clips.array_record-00000-of-00004`.
    """
    return tfds.core.ShardedFileTemplate(
        data_dir=tfds.core.as_path(folder), dataset_name=name, split=SPLIT, filetype_suffix=FORMAT
    )


def is_shard(name: str) -> bool:
    """Return whether a file name belongs to a shard rather than a description."""
    return f".{FORMAT}-" in name


def serialize(features: tfds.features.FeaturesDict, record: Mapping[str, Any]) -> bytes:
    """Return a record as `tf.train.Example`, with its fields in a fixed order.

    tfds leaves the fields in any order.
    """
    protos: Any = tf_example_pb2  # Generated at run time, so type checkers cannot see its members.
    example = protos.Example.FromString(features.serialize_example(record))
    return example.SerializeToString(deterministic=True)


def write(serialized: Iterator[bytes], folder: Path, name: str) -> tfds.core.SplitInfo:
    """Write the files one after the other, with one record in memory at a time.

    Args:
      serialized: Records, each a serialized `tf.train.Example`.
      folder: Output folder.
      name: Name of the data set.

    Returns:
      The split's description for tfds: the number of records per file and the total bytes.
    """
    filled = []
    for first in serialized:
        file = folder / str(len(filled))  # Final names need the number of files.
        filled.append(_fill(file, itertools.chain([first], serialized)))
    for index in range(len(filled)):
        final = file_template(folder, name).sharded_filepath(
            shard_index=index, num_shards=len(filled)
        )
        (folder / str(index)).rename(final)
    lengths, sizes = [length for length, _ in filled], [size for _, size in filled]
    return tfds.core.SplitInfo(SPLIT, lengths, sum(sizes))


def _fill(file: Path, serialized: Iterable[bytes]) -> tuple[int, int]:
    """Write records until the file is full; return their number and bytes."""
    from array_record.python.array_record_module import ArrayRecordWriter  # Not on Windows.

    length = size = 0
    with _as_os_error(file):
        writer = ArrayRecordWriter(str(file), "group_size:1")
    try:
        for record in serialized:
            with _as_os_error(file):
                writer.write(record)
            length, size = length + 1, size + len(record)
            if size >= FULL:
                break
    finally:
        with _as_os_error(file):
            writer.close()
    return length, size


@contextlib.contextmanager
def _as_os_error(file: Path) -> Iterator[None]:
    """Raise ArrayRecord's RuntimeErrors as OSErrors.

    ArrayRecord raises RuntimeError if a disk is full or fails.
    """
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.EIO, str(error).partition("\n")[0], str(file)) from error
