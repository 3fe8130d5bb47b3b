"""Shards: what is written comes back, whole sets only, of the right recipe only."""

import copy
import hashlib
import json
import socket
from pathlib import Path

import grain
import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.shards import dataset as shards
from data_prep.shards import files as shard_files
from helpers.made_shards import DESCRIPTION, RECIPE, made, run, write


def test_round_trip_keeps_values_types_text_and_order(tmp_path):
    written = [made(number) for number in (5, 3, 8)]
    path = write(tmp_path, written)
    assert path == tmp_path / "noise" / "0123abcd-4567cdef" / "1.0.0"
    read = shards.load_shards(path)
    assert len(read) == 3
    for number, wanted in enumerate(written):
        record = read[number]
        assert record.keys() == wanted.keys()
        for name, value in wanted.items():
            assert type(record[name]) is type(value), name
            np.testing.assert_array_equal(record[name], value, strict=True)


def test_info_says_how_the_set_was_made(tmp_path):
    info = shards.load_shards(write(tmp_path, [made(1)])).info
    assert info.source == "noise"
    assert info.class_names == ("calm", "wild")
    assert info.recipe == json.loads(json.dumps(RECIPE))
    assert {name: getattr(info, name) for name in DESCRIPTION} == DESCRIPTION
    assert info.dropped == {"emotion 'fear'": 2}


def test_set_of_an_earlier_version_is_told(tmp_path):
    earlier = {name: value for name, value in DESCRIPTION.items() if name != "repairs"}
    with pytest.raises(UserError, match="made by an earlier version"):
        shards.load_shards(write(tmp_path, [made(1)], description=earlier))


def test_counts_are_taken_when_the_records_are_at_their_end(tmp_path):
    counts = {"written": 0}

    def counted():
        for number in range(3):
            counts["written"] += 1
            yield made(number)

    path = shards.write(
        counted(),
        data_dir=tmp_path,
        name="noise",
        fingerprint="f",
        recipe=RECIPE,
        class_names=("calm", "wild"),
        describe=lambda: DESCRIPTION | {"counts": counts},
    )
    assert shards.load_shards(path).info.counts["written"] == 3


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_half_written_set_is_never_read(tmp_path, error):
    def broken_off():
        yield made(0)
        raise error

    with pytest.raises(error):
        write(tmp_path, broken_off())
    path = shards.set_path(tmp_path, "noise", "0123abcd-4567cdef")
    assert not shards.is_finished(path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    with pytest.raises(UserError, match="no finished set"):
        shards.load_shards(path)


def test_leftover_of_a_killed_process_is_never_read(tmp_path):
    script = (
        "import os, pathlib, sys; from helpers import made_shards as t\n"
        "def killed():\n"
        "    yield t.made(0)\n"
        "    os.kill(os.getpid(), 9)\n"
        "t.write(pathlib.Path(sys.argv[1]), killed())\n"
    )
    assert run(script, tmp_path).returncode == -9
    path = shards.set_path(tmp_path, "noise", "0123abcd-4567cdef")
    assert list(path.parent.iterdir())  # something was left
    assert not shards.is_finished(path)
    assert len(shards.load_shards(write(tmp_path, [made(1), made(2)]))) == 2


def read_all(path: Path) -> list[dict]:
    """Every record in order, as the training reads them."""
    records = grain.MapDataset.source(shards.load_shards(path))
    return list(records.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)))


def told(path: Path, file: Path, content: bytes) -> bool:
    """Whether a file's change is told with its name; else what is read must be what was written."""
    good, expected = file.read_bytes(), read_all(path)
    file.write_bytes(content)
    try:
        found = read_all(path)
    except UserError as error:
        return str(error).startswith(f"{file}: damaged: ") and "Fix: remove" in str(error)
    finally:
        file.write_bytes(good)
    for record, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            np.testing.assert_array_equal(record[name], value, strict=True)
    return False


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << place % 8
    return bytes(changed)


def test_flipped_bit_of_a_record_is_found_and_the_file_named(tmp_path):
    path = write(tmp_path, [made(number) for number in range(4)])
    (file,) = path.glob("*.array_record-*")
    good = file.read_bytes()
    start, end = 64, len(good[: 1 << 16].rstrip(b"\0"))  # a header, records, padding, the index
    assert end > 10_000
    for place in range(start, end, end // 30):
        assert told(path, file, flipped(good, place)), place
    for place in range(0, len(good), len(good) // 30):  # found, or of no consequence
        told(path, file, flipped(good, place))


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.5, 0.9])
def test_truncated_shard_is_found_and_named(tmp_path, part):
    path = write(tmp_path, [made(number) for number in range(4)])
    (file,) = path.glob("*.array_record-*")
    good = file.read_bytes()
    assert told(path, file, good[: int(part * len(good))])


def test_damaged_shard_among_several_is_named_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_files, "FULL", 15_000)
    path = write(tmp_path, [made(number) for number in range(7)])
    files = sorted(path.glob("*.array_record-*"))
    assert files[0].name == "noise-clips.array_record-00000-of-00003"
    files[1].write_bytes(b"")
    stored = shards.load_shards(path)
    assert [end - start for start, end in stored.files.values()] == [3, 3, 1]
    assert stored[2]["clip_id"] == "EP2 é"
    assert stored[6]["clip_id"] == "EP6 é"
    for index in (3, 5):
        with pytest.raises(UserError, match=files[1].name):
            stored[index]


@pytest.mark.parametrize(
    "name", ["dataset_info.json", "features.json", "metadata.json", "label.labels.txt"]
)
def test_damaged_description_is_found_and_named(tmp_path, name):
    path = write(tmp_path, [made(0)])
    good = (path / name).read_bytes()
    for place in range(0, len(good), 1 + len(good) // 20):
        assert told(path, path / name, flipped(good, place)), place
    assert told(path, path / name, good[:-1])
    if name != "dataset_info.json":  # its absence is that of the set
        (path / name).unlink()
        with pytest.raises(UserError, match=name):
            shards.load_shards(path)


def test_damaged_digests_are_found(tmp_path):
    path = write(tmp_path, [made(0)])
    (path / "SHA256SUMS").write_bytes(b"\xff\0\n")
    with pytest.raises(UserError, match="SHA256SUMS: damaged"):
        shards.load_shards(path)
    (path / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="SHA256SUMS: damaged"):
        shards.load_shards(path)


def test_digests_are_those_of_sha256sum(tmp_path):
    path = write(tmp_path, [made(0), made(1)])
    listed = dict(line.split("  ")[::-1] for line in (path / "SHA256SUMS").read_text().splitlines())
    assert listed == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.iterdir()
        if file.name != "SHA256SUMS"
    }


def test_set_written_by_another_process_has_the_same_bytes(tmp_path):
    script = (
        "import pathlib, sys; from helpers import made_shards as t\n"
        "t.write(pathlib.Path(sys.argv[1]), [t.made(1), t.made(2)])\n"
    )
    assert run(script, tmp_path / "there").returncode == 0
    here = write(tmp_path / "here", [made(1), made(2)])
    there = tmp_path / "there" / here.relative_to(tmp_path / "here")
    assert (here / "SHA256SUMS").read_text() == (there / "SHA256SUMS").read_text()


def test_index_beyond_the_end_is_refused(tmp_path):
    stored = shards.load_shards(write(tmp_path, [made(0), made(1)]))
    assert [record["clip_id"] for record in stored] == ["EP0 é", "EP1 é"]
    for index in (2, -1):
        with pytest.raises(IndexError):
            stored[index]


def test_another_recipe_is_refused_with_the_fields_that_differ(tmp_path):
    path = write(tmp_path, [made(0)])
    other = copy.deepcopy(RECIPE)
    other["flow"]["warps"] = 3
    other["stages"] = ("face", "magnify", "keyframes")
    del other["flow"]["bands"]
    with pytest.raises(UserError) as caught:
        shards.load_shards(path, other)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert "prep.flow.warps: the set has 5, the configuration 3" in lines
    assert "prep.flow.bands: the set has 1, the configuration absent" in lines
    assert sum(line.startswith("prep.") for line in lines) == 3
    assert len(shards.load_shards(path, RECIPE)) == 1


def test_set_without_a_record_is_refused_with_the_first_reason(tmp_path):
    with pytest.raises(UserError, match=r"no usable clip, 1 failed.*noise/s1/7:\nno face"):
        write(tmp_path, [])


def test_nothing_is_said_fetched_or_left_behind(tmp_path, monkeypatch, capfd):
    def refuse(*args, **kwargs):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = write(tmp_path / "data", [made(0), made(1)])
    shards.load_shards(path)[1]
    assert capfd.readouterr() == ("", "")
    assert list(scratch.iterdir()) == []
    assert [child.name for child in (tmp_path / "data").iterdir()] == ["noise"]
    assert [child.name for child in (tmp_path / "data" / "noise").iterdir()] == [path.parent.name]


def test_database_documents_go_into_the_set(tmp_path):
    path = write(tmp_path, [made(0)], name="casme2")
    told = json.loads((path / "dataset_info.json").read_text())
    assert told["description"].startswith("# CASME II")
    assert "10.1371/journal.pone.0086041" in told["citation"]
    assert told["fileFormat"] == "array_record"


def test_tensorflow_and_jax_are_not_imported(tmp_path):
    path = write(tmp_path, [made(0)])
    script = (
        "import sys; from data_prep.shards import dataset; dataset.load_shards(sys.argv[1])[0]\n"
        "print([name for name in ('tensorflow', 'jax') if name in sys.modules])\n"
    )
    assert run(script, path).stdout == "[]\n"
