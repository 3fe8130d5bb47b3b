"""Shards: what is written comes back, whole sets only, of the right recipe only."""

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import shards
from data_prep.errors import UserError

RECIPE = {"size": 18, "steps": 2, "stages": ("face", "keyframes"), "flow": {"warps": 5, "bands": 1}}
SIDE = 18 + 2 * 2
DESCRIPTION = {
    "counts": {"written": 3, "dropped": 2, "quarantined": 1},
    "dropped": {"emotion 'fear' is outside the classes in use": 2},
    "quarantined": {"noise/s1/7": "no face"},
}


def made(number: int) -> dict:
    rng = np.random.default_rng(number)
    return {
        "flow": rng.standard_normal((2, SIDE, SIDE, 2)).astype(np.float16),
        "frames": rng.integers(0, 256, (3, SIDE, SIDE, 1), np.uint8),
        "label": number % 2,
        "emotion": "Überraschung",
        "subject": "006",
        "clip_id": f"EP{number} é",
        "dataset": "noise",
        "onset": 0,
        "apex": -1,
        "offset": 10**10 + number,
        "apex_index": -1,
        "fps": 99.875,
    }


def run(script: str, argument: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])}
    command = [sys.executable, "-c", script, str(argument)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def write(folder, records, name="noise", recipe=RECIPE):
    return shards.write(
        records,
        data_dir=folder,
        name=name,
        fingerprint="0123abcd-4567cdef",
        recipe=recipe,
        class_names=("calm", "wild"),
        describe=lambda: DESCRIPTION,
    )


def test_round_trip_keeps_values_types_text_and_order(tmp_path):
    written = [made(number) for number in (5, 3, 8)]
    path = write(tmp_path, written)
    assert path == tmp_path / "noise" / "0123abcd-4567cdef" / "1.0.0"
    read = shards.load(path)
    assert len(read) == 3
    for number, wanted in enumerate(written):
        record = read[number]
        assert record.keys() == wanted.keys()
        for name, value in wanted.items():
            assert type(record[name]) is type(value), name
            np.testing.assert_array_equal(record[name], value, strict=True)


def test_info_says_how_the_set_was_made(tmp_path):
    info = shards.load(write(tmp_path, [made(1)])).info
    assert info.source == "noise"
    assert info.class_names == ("calm", "wild")
    assert info.recipe == json.loads(json.dumps(RECIPE))
    assert {name: getattr(info, name) for name in DESCRIPTION} == DESCRIPTION


def test_counts_are_taken_when_the_records_are_at_their_end(tmp_path):
    counts = {"written": 0, "dropped": 0, "quarantined": 0}

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
        describe=lambda: {"counts": counts, "dropped": {}, "quarantined": {}},
    )
    assert shards.load(path).info.counts["written"] == 3


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
        shards.load(path)


def test_leftover_of_a_killed_process_is_never_read(tmp_path):
    script = (
        "import os, pathlib, sys; import test_shards as t\n"
        "def killed():\n"
        "    yield t.made(0)\n"
        "    os.kill(os.getpid(), 9)\n"
        "t.write(pathlib.Path(sys.argv[1]), killed())\n"
    )
    assert run(script, tmp_path).returncode == -9
    path = shards.set_path(tmp_path, "noise", "0123abcd-4567cdef")
    assert list(path.parent.iterdir())  # something was left
    assert not shards.is_finished(path)
    assert len(shards.load(write(tmp_path, [made(1), made(2)]))) == 2


def test_another_recipe_is_refused_with_the_fields_that_differ(tmp_path):
    path = write(tmp_path, [made(0)])
    other = copy.deepcopy(RECIPE)
    other["flow"]["warps"] = 3
    other["stages"] = ("face", "magnify", "keyframes")
    del other["flow"]["bands"]
    with pytest.raises(UserError) as caught:
        shards.load(path, other)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert "prep.flow.warps: the set has 5, the configuration 3" in lines
    assert "prep.flow.bands: the set has 1, the configuration absent" in lines
    assert sum(line.startswith("prep.") for line in lines) == 3
    assert len(shards.load(path, RECIPE)) == 1


def test_set_without_a_record_is_refused_with_the_first_reason(tmp_path):
    with pytest.raises(UserError, match=r"every one of its 1 clips failed.*noise/s1/7:\nno face"):
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
    shards.load(path)[1]
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
        "import sys; from data_prep import shards; shards.load(sys.argv[1])[0]\n"
        "print([name for name in ('tensorflow', 'jax') if name in sys.modules])\n"
    )
    assert run(script, path).stdout == "[]\n"
