"""TFRecord: framing against published values, and the records of the set byte for byte."""

import json
import struct
import sys
from pathlib import Path

import pytest

from data_prep.common import folders
from data_prep.common.errors import UserError
from data_prep.shards import dataset as shards
from data_prep.shards import files as shard_files
from data_prep.shards import tfrecord
from helpers.made_shards import made, write

# What tf.io.TFRecordWriter of TensorFlow 2.21 writes for the one record b"clip".
FRAME = "040000000000000042455204636c69708c3e0c27"


@pytest.fixture
def crc32c():
    reason = "needs pip install '.[tfrecord]'"
    return pytest.importorskip("google_crc32c", reason=reason).value


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """A set of five clips in two files."""
    monkeypatch.setattr(shard_files, "FULL", 15_000)
    return write(tmp_path / "data", [made(number) for number in range(5)])


def unmasked(masked: int) -> int:
    """tensorflow/core/lib/hash/crc32c.h."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def records(content: bytes, crc32c) -> list[bytes]:
    """What a TFRecord file holds."""
    found = []
    while content:
        length, of_length = struct.unpack("<QI", content[:12])
        record, (of_record,) = (
            content[12 : 12 + length],
            struct.unpack_from("<I", content, 12 + length),
        )
        assert unmasked(of_length) == crc32c(content[:8])
        assert unmasked(of_record) == crc32c(record)
        found.append(record)
        content = content[16 + length :]
    return found


def test_checksum_is_crc32c(crc32c):
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32/ISCSI
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_frame_is_that_of_tensorflow(crc32c):
    assert tfrecord.frame_record(b"clip", crc32c).hex() == FRAME


def test_files_hold_the_records_of_the_set_in_order(path, tmp_path, crc32c):
    out = tfrecord.write(path, tmp_path / "tfrecord")
    files = sorted(out.glob("*.tfrecord-*"))
    assert [file.name for file in files] == [
        "noise-clips.tfrecord-00000-of-00002",
        "noise-clips.tfrecord-00001-of-00002",
    ]
    stored = shards.load_shards(path)
    held = [records(file.read_bytes(), crc32c) for file in files]
    assert [len(file) for file in held] == [3, 2]
    assert [*held[0], *held[1]] == [stored.serialized(index) for index in range(5)]


def test_description_says_tfrecord_and_is_else_that_of_the_set(path, tmp_path, crc32c):
    out = tfrecord.write(path, tmp_path / "tfrecord")
    before, after = (json.loads((f / "dataset_info.json").read_text()) for f in (path, out))
    assert after == before | {"fileFormat": "tfrecord"}
    for name in ("features.json", "metadata.json", "label.labels.txt"):
        assert (out / name).read_bytes() == (path / name).read_bytes()
    for name, digest in folders.read_checksums(out).items():
        folders.verify_checksum(out / name, digest)


def test_folder_that_is_there_is_left_alone(path, tmp_path, crc32c):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="mine: it exists already"):
        tfrecord.write(path, tmp_path / "mine")


def test_damaged_set_leaves_no_export(path, tmp_path, crc32c):
    file = sorted(path.glob("*.array_record-*"))[1]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=f"{file.name}: damaged"):
        tfrecord.write(path, tmp_path / "tfrecord")
    assert [child.name for child in tmp_path.iterdir()] == ["data"]


def test_folder_that_cannot_be_made_is_named(path, tmp_path, crc32c):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/tfrecord: cannot be written"):
        tfrecord.write(path, tmp_path / "file" / "tfrecord")


def test_missing_library_is_told_with_its_remedy(path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(UserError, match=r"pip install '\.\[tfrecord\]'"):
        tfrecord.write(path, tmp_path / "tfrecord")
