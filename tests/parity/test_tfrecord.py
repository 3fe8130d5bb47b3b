"""The TFRecord export as TensorFlow reads it: by tf.data alone, and by tfds."""

from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.config import margin
from data_prep.shards import dataset as shards
from data_prep.shards import tfrecord

pytestmark = pytest.mark.heavy
tf = pytest.importorskip("tensorflow", reason="needs pip install tensorflow")
pytest.importorskip("google_crc32c", reason="needs pip install '.[tfrecord]'")

SIZE, STEPS, CLIPS = 18, 2, 5
SIDE = SIZE + 2 * margin(SIZE)
CLASSES = ("calm", "wild")


def made(number: int) -> dict:
    rng = np.random.default_rng(number)
    return {
        "flow": rng.standard_normal((STEPS, SIDE, SIDE, 2)).astype(np.float16),
        "frames": rng.integers(0, 256, (STEPS + 1, SIDE, SIDE, 1), np.uint8),
        "positions": np.array([0.0, 7.25, 9.0], np.float32),
        "label": number % 2,
        "emotion": "Überraschung",
        "subject": "006",
        "clip_id": f"EP{number} é",
        "dataset": "noise",
        "onset": 0,
        "apex": -1,
        "offset": 10**10 + number,
        "apex_index": -1,
        "apex_estimated": 0,
        "first": 0,
        "fps": 99.875,
        "notes": "",
    }


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = shards.write(
        (made(number) for number in range(CLIPS)),
        data_dir=tmp_path_factory.mktemp("data"),
        name="noise",
        fingerprint="f",
        recipe={"size": SIZE, "steps": STEPS},
        class_names=CLASSES,
        describe=lambda: {
            "counts": {"written": CLIPS},
            "release": {},
            "repairs": [],
            "quarantined": {},
        },
    )
    return shards.load_shards(path)


@pytest.fixture(scope="module")
def out(stored, tmp_path_factory):
    folder = next(iter(stored.files)).parent
    return tfrecord.write(folder, tmp_path_factory.mktemp("export") / "tfrecord")


def test_tensorflow_reads_the_records_byte_for_byte(stored, out):
    files = sorted(str(file) for file in out.glob("*.tfrecord-*"))
    read = [record.numpy() for record in tf.data.TFRecordDataset(files)]
    assert read == [stored.serialized(index) for index in range(CLIPS)]


def test_tensorflow_finds_a_flipped_bit(out, tmp_path):
    (file,) = out.glob("*.tfrecord-*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped").write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset(str(tmp_path / "flipped")))


def test_tfds_reads_the_clips(out):
    builder: Any = tfds.builder_from_directory(str(out))
    assert builder.info.features["label"].names == list(CLASSES)
    assert builder.info.metadata["recipe"] == {"size": SIZE, "steps": STEPS}
    read = list(tfds.as_numpy(builder.as_dataset(split="clips", shuffle_files=False)))
    assert len(read) == CLIPS
    for number, record in enumerate(read):
        wanted = made(number)
        assert record.keys() == wanted.keys()
        for name, value in wanted.items():
            value = value.encode() if isinstance(value, str) else value
            np.testing.assert_array_equal(record[name], value)
        for name in ("flow", "frames", "positions"):
            assert record[name].dtype == wanted[name].dtype
