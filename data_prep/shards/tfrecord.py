"""Copies of a finished set as TFRecord files, for programs that use TensorFlow.

The records are those of the ArrayRecord shards, byte for byte. The description in the folder lets
`tfds.builder_from_directory(folder).as_dataset(split='clips')` read it.
"""

from __future__ import annotations

import importlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from data_prep.common import folders
from data_prep.common.errors import UserError
from data_prep.shards import dataset as shards
from data_prep.shards import files as shard_files

FORMAT = "tfrecord"
_INFO = "dataset_info.json"


def write(path: Path, out: Path) -> Path:
    """Write a set as TFRecord, one file per ArrayRecord file, complete or not at all.

    Args:
      path: Folder of the set, `PreparedSet.path`.
      out: Output folder.

    Returns:
      `out`.

    Raises:
      UserError: There is no set at `path` or it is damaged, `out` exists or cannot be written, or
        the library for the checksums is missing.
    """
    check(out)
    crc32c, prepared_set = _crc32c(), shards.load_shards(path)
    try:
        with folders.atomic_folder(out) as folder:
            for file, (start, end) in prepared_set.files.items():
                with (folder / _tfrecord_name(file.name)).open("wb") as opened:
                    for index in range(start, end):
                        opened.write(frame_record(prepared_set.serialized(index), crc32c))
            _copy_description(path, folder)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}).") from error
    return out


def check(out: Path) -> None:
    """Check that `write` can run, before the clips are prepared.

    Raises:
      UserError: `out` exists, or the library for the checksums is missing.
    """
    _crc32c()
    if out.exists():
        raise UserError(f"{out}: it exists already. Fix: remove it, or name another folder.")


def frame_record(record: bytes, crc32c: Callable[[bytes], int]) -> bytes:
    """Return a record in TFRecord framing.

    This is its length and its bytes, each followed by its masked CRC-32C.

    Reference: tensorflow/core/lib/io/record_writer.h.
    """
    length = struct.pack("<Q", len(record))
    return b"".join([length, _mask_crc(crc32c(length)), record, _mask_crc(crc32c(record))])


def _mask_crc(crc: int) -> bytes:
    """Mask a checksum as TFRecord does.

    The CRC of bytes that contain their own CRC is unreliable; the mask avoids that.
    """
    rotated = crc >> 15 | crc << 17
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def _crc32c() -> Callable[[bytes], int]:
    try:
        return importlib.import_module("google_crc32c").value
    except ImportError as error:
        raise UserError(
            f"--tfrecord: it needs google-crc32c ({error}).\nFix: pip install '.[tfrecord]'"
        ) from error


def _tfrecord_name(name: str) -> str:
    return name.replace(f".{shard_files.FORMAT}-", f".{FORMAT}-")


def _copy_description(path: Path, folder: Path) -> None:
    """Copy the set's description and set its file format to TFRecord."""
    for name in folders.read_checksums(path):
        if not shard_files.is_shard(name):
            shutil.copyfile(path / name, folder / name)
    info = json.loads((path / _INFO).read_text(encoding="utf-8"))
    info["fileFormat"] = FORMAT
    (folder / _INFO).write_text(json.dumps(info, indent=2), encoding="utf-8")
