"""Records as bytes, in ArrayRecord files of a bounded size that are written as they come."""

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
SPLIT = "clips"  # the only one; tfds reserves the name 'all' for the sum of the splits
FULL = 128 << 20  # bytes after which a file is closed: about 80 clips at full size


def file_template(folder: Path, name: str) -> tfds.core.ShardedFileTemplate:
    """How tfds names the files of a data set: `samm-clips.array_record-00000-of-00004`."""
    return tfds.core.ShardedFileTemplate(
        data_dir=tfds.core.as_path(folder), dataset_name=name, split=SPLIT, filetype_suffix=FORMAT
    )


def is_shard(name: str) -> bool:
    """Whether that name is of a file with records, rather than of one that describes the set."""
    return f".{FORMAT}-" in name


def serialize(features: tfds.features.FeaturesDict, record: Mapping[str, Any]) -> bytes:
    """A record as `tf.train.Example`, with its fields in one order: tfds leaves them in any."""
    protos: Any = tf_example_pb2  # made at run time: no checker sees what is in it
    example = protos.Example.FromString(features.serialize_example(record))
    return example.SerializeToString(deterministic=True)


def write(serialized: Iterator[bytes], folder: Path, name: str) -> tfds.core.SplitInfo:
    """Write one file after the other; no more than one record is in memory.

    Args:
      serialized: the records, each a serialized `tf.train.Example`.
      folder: where the files go.
      name: the data set's name.

    Returns:
      What tfds wants to know of them: the number of records in each file, and the bytes in all.
    """
    filled = []
    for first in serialized:
        file = folder / str(len(filled))  # how many there will be is known only at the end
        filled.append(_fill(file, itertools.chain([first], serialized)))
    for index in range(len(filled)):
        final = file_template(folder, name).sharded_filepath(
            shard_index=index, num_shards=len(filled)
        )
        (folder / str(index)).rename(final)
    lengths, sizes = [length for length, _ in filled], [size for _, size in filled]
    return tfds.core.SplitInfo(SPLIT, lengths, sum(sizes))


def _fill(file: Path, serialized: Iterable[bytes]) -> tuple[int, int]:
    """Write records until the file is full; how many, and their bytes."""
    from array_record.python.array_record_module import ArrayRecordWriter  # not on Windows

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
    """A disk that is full or fails is an OSError; ArrayRecord knows RuntimeError alone."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.EIO, str(error).partition("\n")[0], str(file)) from error
