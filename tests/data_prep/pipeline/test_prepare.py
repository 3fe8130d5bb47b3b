"""From a configuration to a set: reuse, partial reuse, what is said, and how the command ends."""

import contextlib
import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from data_prep import config as configs
from data_prep.common import command, folders
from data_prep.common.errors import UserError
from data_prep.datasets import registry
from data_prep.datasets.base import repairs
from data_prep.datasets.base.source import Listing
from data_prep.pipeline import cache, record
from data_prep.pipeline import clips as pipeline
from data_prep.pipeline.prepare import prepare
from data_prep.shards import dataset as shards
from data_prep.shards import files as shard_files
from helpers.noise import RECIPE, NoiseSource, NumberedEntry, with_flow


@pytest.fixture
def config(tmp_path):
    data = configs.data("noise")
    data.update(data_dir=str(tmp_path), workers=1)
    return ConfigDict({"data": data, "prep": RECIPE, "synthetic": configs.synthetic()})


@pytest.fixture
def source(monkeypatch):
    made = NoiseSource(3)

    monkeypatch.setattr(registry, "source", lambda config: made)
    monkeypatch.setattr(record, "with_flow", with_flow)
    return made


def test_set_is_made_then_found_again(config, source):
    said = []
    first = prepare(config, said.append)
    second = prepare(config, said.append)
    assert (first.reused, first.reused_clips) == (False, 0)
    assert (second.reused, second.reused_clips) == (True, 3)
    assert first.counts == second.counts
    assert first.counts == {"written": 3, "noted": 0, "dropped": 0, "quarantined": 0}
    assert first.path == second.path
    assert said[0] == f"Reused 0 of 3 clips, made 3, left out 0, failed 0:\n{first.path}"
    assert said[1].startswith(f"Reused {first.path}: 3 clips")
    names = [shards.load_shards(first.path)[number]["clip_id"] for number in range(3)]
    assert names == ["clip 0 é", "clip 1 é", "clip 2 é"]


def test_another_clip_makes_another_set_and_reuses_the_others(config, source, monkeypatch):
    first = prepare(config)
    clips = [*source.entries()[:2], NumberedEntry(2, key="2")]
    monkeypatch.setattr(source, "entries", lambda: clips)
    said = []
    second = prepare(config, said.append)
    assert first.path != second.path
    assert first.path.parent.name[:8] == second.path.parent.name[:8]  # the recipe's half
    assert second.reused_clips == 2
    assert said[0].startswith("Reused 2 of 3 clips, made 1")


def test_set_says_what_its_own_release_was(config, source):
    source.listing = Listing(facts={"sheet": "first.xlsx"})
    first = prepare(config)
    source.listing = Listing(facts={"sheet": "second.xlsx"})  # with the same rows
    second = prepare(config)
    assert second.reused_clips == 3
    for made, sheet in ((first, "first.xlsx"), (second, "second.xlsx")):
        assert shards.load_shards(made.path).info.release["sheet"] == sheet


def test_another_recipe_lies_in_another_folder_and_is_not_mixed_up(config, source):
    first = prepare(config)
    config.prep.magnify.alpha = 9.0
    second = prepare(config)
    assert first.path != second.path
    with pytest.raises(UserError, match=r"prep\.magnify\.alpha: the set has 2\.0, .* 9\.0"):
        shards.load_shards(first.path, config.prep.to_dict())


def test_what_is_left_out_is_counted_and_said(config, source):
    source.bad, source.odd = [1], [2]
    reason = "emotion 'fear' is outside the classes in use"
    left_out = [repairs.left_out_row(f"noise/s1/{clip}", reason) for clip in "3456"]
    unmarked = repairs.Repair("noise/s0/0", "apex", "", "", "no apex is marked")
    source.listing = Listing((*left_out, unmarked), clips={"calm": 2}, stated={"calm": 7})
    said = []
    made = prepare(config, said.append)
    assert made.counts == {"written": 2, "noted": 1, "dropped": 4, "quarantined": 1}
    info = shards.load_shards(made.path).info
    assert info.dropped == {reason: 4}
    assert info.release["stated"] == {"calm": 7}
    assert info.quarantined == {"noise/s1/1": "noise/s1/1: frame 7 is absent."}
    told = "\n".join(said)
    assert f"4 left out: {reason}: s1/3, s1/4, s1/5, ... (1 more)" in re.sub(r"\s+", " ", told)
    assert "Warning: noise has 2 clips" in told
    sheet = made.path.parent / "repairs.csv"
    assert f"Every repair and every row left out:\n{sheet}" in told
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == info.repairs
    apex = shards.load_shards(made.path)[0]
    assert apex["apex_estimated"] == 1
    assert rows[-1]["now"] == str(apex["apex"])
    assert rows[-1]["reason"] == "no apex is marked; estimated from the flow"
    assert f"Reused 0 of 2 clips, made 2, left out 4, failed 1:\n{made.path}" in told
    notes, file = (made.path.parent / name for name in ("notes.jsonl", "quarantine.jsonl"))
    assert f"Clips with a note: 1, in\n{notes}" in told
    assert json.loads(notes.read_text())["notes"] == ["Two faces.", "Dark."]
    assert shards.load_shards(made.path)[1]["notes"] == "Two faces.\nDark."
    assert f"Clips that failed and are not in the set: 1; each with its reason in\n{file}" in told
    assert json.loads(file.read_text())["clip"] == "noise/s1/1"


def test_every_clip_failing_is_an_error_with_the_reason(config, source):
    source.bad = range(3)
    with pytest.raises(UserError, match=r"no usable clip, 3 failed.*\n.*frame 7 is absent"):
        prepare(config)


def test_failed_clips_are_tried_again_when_the_set_is_removed(config, source):
    source.bad = [1]
    first = prepare(config)
    shutil.rmtree(first.path.parent)
    source.bad = []
    again = prepare(config)
    assert (again.counts["written"], again.reused_clips) == (3, 2)


@pytest.mark.parametrize(("preview", "drawn"), [(0, 0), (2, 2), (9, 3), (-1, 3)])
def test_as_many_clips_are_drawn_as_asked(config, source, monkeypatch, preview, drawn):
    seen = []

    def write(folder, history, made):
        seen.append((folder, list(history), history["source"].clip_id, made["clip_id"]))
        return []

    monkeypatch.setattr("data_prep.preview.film.write", write)
    config.data.preview = preview
    path = prepare(config).path
    stages = ["source", "face", "apex", "magnify", "keyframes"]
    names = [f"clip {number} é" for number in range(drawn)]
    expected = [(path.parent / "preview", stages, name, name) for name in names]
    assert seen == expected
    prepare(config)  # the set is there; the pictures are asked for all the same
    assert seen == 2 * expected


@pytest.mark.parametrize(("field", "value"), [("cache", "all"), ("preview", -2)])
def test_wrong_fields_are_named(config, source, field, value):
    config.data[field] = value
    with pytest.raises(UserError, match=rf"config\.data\.{field}"):
        prepare(config)


def test_memory_does_not_grow_with_the_number_of_clips(config, source):
    config.prep.size = 80
    peaks = []
    for count in (6, 6, 36):  # the first one pays for what is loaded once
        source.count, source.name = count, f"noise{count}{len(peaks)}"
        tracemalloc.start()
        path = prepare(config, lambda line: None).path
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    record_size = sum(np.asarray(value).nbytes for value in shards.load_shards(path)[0].values())
    assert peaks[2] - peaks[1] < 5 * record_size


def test_leftovers_go_when_nobody_works_there(config, source):
    prepare(config)
    sets = Path(config.data.data_dir) / "noise"
    leftovers = [
        sets / "0123-4567" / "incomplete.1a2b_1.0.0" / "0",
        sets.parent / "cache" / "noise" / "face" / "f.npz.123.tmp",
    ]
    for file in leftovers:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    with folders.lock(sets / "0123-4567"):  # as another preparation would
        config.prep.magnify.alpha = 9.0
        prepare(config)
    assert [file.exists() for file in leftovers] == [True, True]
    hours_ago = time.time() - 7200
    os.utime(leftovers[1], (hours_ago, hours_ago))
    config.prep.magnify.alpha = 10.0
    prepare(config)
    assert [file.exists() for file in leftovers] == [False, False]
    assert not leftovers[0].parent.exists()


def test_a_set_that_another_process_makes_is_waited_for_and_used(config, source, monkeypatch):
    first = prepare(config)
    aside = first.path.with_name("aside")
    first.path.rename(aside)  # as if it were still being written
    lines = []
    with contextlib.ExitStack() as other_process:
        other_process.enter_context(folders.lock(first.path.parent))

        def print_line(line):
            lines.append(line)
            if line.startswith("Waiting"):
                aside.rename(first.path)
                other_process.close()

        monkeypatch.setattr(pipeline, "good_records", None)  # nothing is made again
        second = prepare(config, print_line)
    assert lines[0] == f"Waiting: another process is using {first.path.parent}."
    assert (second.path, second.reused, second.reused_clips) == (first.path, True, 3)


def test_a_folder_without_locks_is_named(config, source, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"cannot be locked \(No locks available.*data_dir"):
        prepare(config)


def test_full_disk_is_told_with_the_remedy(config, source, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write", fail)
    with pytest.raises(UserError, match=r"No space left.*data\.cache=clips.*data\.data_dir"):
        prepare(config)


def test_full_disk_is_told_when_the_shards_meet_it(config, source, monkeypatch):
    fill = shard_files._fill  # every file of the set on a disk without room
    monkeypatch.setattr(
        shard_files, "_fill", lambda file, serialized: fill(Path("/dev/full"), serialized)
    )
    with pytest.raises(UserError, match=r"/dev/full: .*No space left on device.*data_dir"):
        prepare(config)
    monkeypatch.undo()
    assert not list(Path(config.data.data_dir).rglob("dataset_info.json"))


def test_set_that_is_there_is_found_in_a_folder_that_is_only_for_reading(
    config, source, monkeypatch
):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    first = prepare(config)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert prepare(config).path == first.path
    config.prep.magnify.alpha = 9.0
    with pytest.raises(UserError, match=r"cannot be written \(Read-only.*data_dir="):
        prepare(config)


def test_home_is_meant_by_a_tilde(config, source, monkeypatch):
    monkeypatch.setenv("HOME", config.data.data_dir)
    config.data.data_dir = "~/clips"
    assert prepare(config).path.is_relative_to(Path.home() / "clips" / "noise")


def test_another_content_of_the_users_face_model_makes_another_set(config, source, tmp_path):
    model = tmp_path / "points.dat"
    model.write_bytes(b"one")
    config.prep.face.model = str(model)
    first = prepare(config)
    assert prepare(config).reused
    model.write_bytes(b"another")
    second = prepare(config)
    assert second.path != first.path
    assert second.reused_clips == 0


def start(*flags, **options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-m", "data_prep", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


@pytest.fixture
def config_file(tmp_path):
    """A configuration of a database that is not there."""
    file = tmp_path / "config.py"
    file.write_text(
        "from ml_collections import ConfigDict\n"
        "from data_prep import config\n"
        "from data_prep.common.errors import UserError\n"
        "def get_config(preset='small'):\n"
        "    if preset != 'small':\n"
        "        raise UserError(f'no preset {preset}')\n"
        "    data, synthetic = config.data('samm'), config.synthetic()\n"
        f"    data.data_dir = {str(tmp_path / 'data')!r}\n"
        f"    return ConfigDict(dict(data=data, prep={RECIPE!r}, synthetic=synthetic)).lock()\n"
    )
    return file


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "SAMM: spontaneous"),
        (("--config.data.dataset=sam",), "Did you mean 'samm'"),
        (("--config.data.worker=3",), 'Did you mean "workers"'),
        (("--config.data.workers=many",), "--config.data.workers=many: invalid literal"),
        (("--confg=x",), "Unknown command line flag 'confg'"),
        (("noise",), "'noise' is not a flag"),
    ],
)
def test_mistakes_end_with_one_message_and_status_2(config_file, flags, message):
    process = start(f"--config={config_file}", *flags)
    out, err = process.communicate()
    assert process.returncode == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--config: no file is given"),
        (("--config=nowhere.py",), "nowhere.py"),
        (("--config={file}:big",), "no preset big"),
        (("--config={file}:big", "--config.data.workers=1"), "no preset big"),
    ],
)
def test_wrong_configuration_file_is_told(config_file, flags, message):
    process = start(*[flag.format(file=config_file) for flag in flags])
    assert message in process.communicate()[1]
    assert process.returncode == 2


SLOW = """
import sys, time
from data_prep.datasets import registry
from data_prep.common import command
from data_prep.pipeline import record
from data_prep.pipeline.prepare import prepare
from helpers.noise import NoiseSource, with_flow

def slow(*args):
    print("clip", flush=True)
    time.sleep(0.2)
    return with_flow(*args)

registry.source = lambda config: NoiseSource(8)
record.with_flow = slow
sys.exit(command.run(prepare))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_preparation_leaves_no_process_and_goes_on(
    tmp_path, config, config_file, source, how
):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])}
    process = subprocess.Popen(
        [sys.executable, script, f"--config={config_file}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    for _ in range(3):
        assert process.stdout.readline() == "clip\n"
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: to the workers as well
    else:
        process.kill()
    stopped = time.monotonic()
    err = process.communicate(timeout=30)[1]
    assert time.monotonic() - stopped < 15
    assert _ends(process.pid)
    data = tmp_path / "data"
    if how == signal.SIGINT:
        assert process.returncode == command.INTERRUPTED == 130
        assert err.strip().splitlines()[-1] == (
            "Interrupted. Finished work is kept. Run the same command again to continue."
        )
        assert "Traceback" not in err
        assert not list(data.rglob("*.tmp"))
    else:
        assert process.returncode == -signal.SIGKILL
        assert list(data.rglob("incomplete.*"))
    source.count, config.data.data_dir = 8, str(data)
    resumed = prepare(config)
    assert 2 <= resumed.reused_clips < 8
    assert not list(data.rglob("incomplete.*"))
    config.data.data_dir = str(tmp_path / "other")
    anew = prepare(config)
    assert [_bytes(file) for file in sorted(resumed.path.iterdir())] == [
        _bytes(file) for file in sorted(anew.path.iterdir())
    ]


def _bytes(file: Path) -> tuple[str, bytes]:
    return file.name, file.read_bytes()


def _ends(group: int) -> bool:
    """Whether no process of the group is left; the resource tracker takes a moment to end."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (["face", "keyframe"], "Did you mean 'keyframes'"),
        (["magnify", "face", "keyframes"], "'face' must come first"),
        (["face", "magnify"], "'keyframes' must be there"),
        (["face", "keyframes", "keyframes"], "none may come twice"),
        ([], "the allowed entries are face"),
    ],
)
def test_wrong_stages_are_refused_at_once(config, source, stages, message):
    config.prep.stages = stages
    with pytest.raises(UserError, match=message):
        prepare(config)


def test_folder_that_cannot_be_written_is_named(config, source, tmp_path):
    (tmp_path / "file").touch()
    config.data.data_dir = str(tmp_path / "file" / "data")
    with pytest.raises(UserError, match=r"file/data: cannot be written.*data_dir="):
        prepare(config)
