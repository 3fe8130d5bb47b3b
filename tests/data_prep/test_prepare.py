"""From a configuration to a set: reuse, partial reuse, what is said, and how the command ends."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ml_collections import ConfigDict
from test_pipeline import RECIPE, NoiseSource, NumberedEntry

from data_prep import command, datasets, record, shards
from data_prep.config import synthetic
from data_prep.errors import UserError
from data_prep.prepare import prepare


@pytest.fixture
def config(tmp_path):
    data = {"dataset": "noise", "manual_dir": "", "data_dir": str(tmp_path), "workers": 1}
    return ConfigDict({"data": data, "prep": RECIPE, "synthetic": synthetic()})


@pytest.fixture
def source(monkeypatch):
    made = NoiseSource(3)

    def with_flow(partial, frames, recipe):
        flow = np.stack([frames[1:] - frames[:1]] * 2, axis=-1)
        return {"flow": flow.astype(np.float16), **partial}

    monkeypatch.setattr(datasets, "source", lambda config: made)
    monkeypatch.setattr(record, "with_flow", with_flow)
    return made


def test_set_is_made_then_found_again(config, source):
    said = []
    first = prepare(config, said.append)
    second = prepare(config, said.append)
    assert (first.reused, first.reused_clips) == (False, 0)
    assert (second.reused, second.reused_clips) == (True, 3)
    assert first.counts == {"written": 3, "dropped": 0, "quarantined": 0} == second.counts
    assert first.path == second.path
    assert said[0].startswith("Reused 0 of 3 clips, made 3")
    assert said[1].startswith(f"Reused {first.path}: 3 clips")
    names = [shards.load(first.path)[number]["clip_id"] for number in range(3)]
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


def test_another_recipe_lies_in_another_folder_and_is_not_mixed_up(config, source):
    first = prepare(config)
    config.prep.magnify.alpha = 9.0
    second = prepare(config)
    assert first.path != second.path
    with pytest.raises(UserError, match=r"prep\.magnify\.alpha: the set has 2\.0, .* 9\.0"):
        shards.load(first.path, config.prep.to_dict())


def test_what_is_left_out_is_counted_and_said(config, source):
    source.bad, source.dropped = [1], {"emotion 'fear' is outside the classes in use": 4}
    said = []
    made = prepare(config, said.append)
    assert made.counts == {"written": 2, "dropped": 4, "quarantined": 1}
    info = shards.load(made.path).info
    assert info.dropped == source.dropped
    assert info.quarantined == {"noise/s1/1": "noise/s1/1: frame 7 is absent."}
    told = "\n".join(said)
    assert "Left out 4 rows of noise: emotion 'fear'" in told
    file = made.path.parent / "quarantine.jsonl"
    assert f"1 clips failed and are not in the set; each with its reason in\n{file}" in told
    assert json.loads(file.read_text())["clip"] == "noise/s1/1"


def test_every_clip_failing_is_an_error_with_the_reason(config, source):
    source.bad = range(3)
    with pytest.raises(UserError, match=r"every one of its 3 clips failed.*\n.*frame 7 is absent"):
        prepare(config)


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
        "from test_pipeline import RECIPE\n"
        "from data_prep.config import synthetic\n"
        "from data_prep.errors import UserError\n"
        "def get_config(preset='small'):\n"
        "    if preset != 'small':\n"
        "        raise UserError(f'no preset {preset}')\n"
        f"    data = dict(dataset='samm', manual_dir='', data_dir={str(tmp_path / 'data')!r},"
        " workers=2)\n"
        "    return ConfigDict(dict(data=data, prep=RECIPE, synthetic=synthetic())).lock()\n"
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
        ((), "Which configuration"),
        (("--config=nowhere.py",), "nowhere.py"),
        (("--config={file}:big",), "no preset big"),
        (("--config={file}:big", "--config.data.workers=1"), "no preset big"),
    ],
)
def test_wrong_configuration_file_is_told(config_file, flags, message):
    process = start(*[flag.format(file=config_file) for flag in flags])
    assert message in process.communicate()[1]
    assert process.returncode == 2


def test_ctrl_c_ends_at_once_keeps_the_cache_and_leaves_no_process(tmp_path, config_file):
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from data_prep import command, pipeline, record\n"
        "from test_pipeline import RECIPE, NoiseSource\n"
        "def with_flow(partial, frames, recipe):\n"
        "    time.sleep(0.2)\n"
        "    return {'flow': frames, **partial}\n"
        "record.with_flow = with_flow\n"
        "def main(config):\n"
        "    source = NoiseSource(1000)\n"
        "    for _ in pipeline.run(source, source.entries(), RECIPE, cache_dir=Path('cache'),"
        " workers=2):\n"
        "        print('clip', flush=True)\n"
        "sys.exit(command.run(main))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])}
    process = subprocess.Popen(
        [sys.executable, script, f"--config={config_file}"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "clip\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    interrupted = time.monotonic()
    err = process.communicate(timeout=30)[1]
    assert process.returncode == command.INTERRUPTED == 130
    assert err.strip().splitlines() == [
        "Interrupted. What is finished is kept: run the same command again to go on."
    ]
    assert time.monotonic() - interrupted < 15
    assert list((tmp_path / "cache").rglob("*.npz"))
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    assert _ends(process.pid)


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
        (["magnify", "face", "keyframes"], "'face' comes first"),
        (["face", "magnify"], "'keyframes' has to be"),
        (["face", "keyframes", "keyframes"], "none comes twice"),
        ([], "it may hold: face"),
    ],
)
def test_wrong_stages_are_refused_at_once(config, source, stages, message):
    config.prep.stages = stages
    with pytest.raises(UserError, match=message):
        prepare(config)


def test_folder_that_cannot_be_written_is_named(config, source, tmp_path):
    (tmp_path / "file").touch()
    config.data.data_dir = str(tmp_path / "file" / "data")
    with pytest.raises(UserError, match=r"file/data cannot be written.*data_dir="):
        prepare(config)
