import io
import json
import os
import threading
from pathlib import Path

import pytest

from data_prep.common import folders
from data_prep.common.errors import UserError
from mser_jax.config.defaults import get_config
from mser_jax.experiments import run
from mser_jax.experiments.workdir import default_workdir, differences, open_workdir
from mser_jax.storage.log import Log


def config(**fields):
    made = get_config("synthetic", "smoke")
    made.update_from_flattened_dict(fields)
    return made


def test_default_folder_is_named_by_what_was_changed():
    plain = default_workdir(config())
    assert plain == Path("runs/synthetic-smoke")
    assert default_workdir(get_config("samm", "paper")) == Path("runs/samm-paper")
    seeds = {default_workdir(config(seed=seed)) for seed in (1, 2, 3)} | {
        default_workdir(config(**{"train.epochs": 5}))
    }
    assert len(seeds) == 4
    assert all(folder.name.startswith("synthetic-smoke-") for folder in seeds)
    assert default_workdir(config(seed=0)) == plain
    assert default_workdir(config(seed=1)) == default_workdir(config(seed=1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data.workers", 7),
        ("data.data_dir", "elsewhere"),
        ("data.manual_dir", "there"),
        ("train.checkpoint_every", 1),
    ],
)
def test_fields_that_change_no_result_are_no_other_run(tmp_path, field, value):
    open_workdir(config(), str(tmp_path))
    assert default_workdir(config(**{field: value})) == default_workdir(config())
    assert open_workdir(config(**{field: value}), str(tmp_path)) == tmp_path
    section, name = field.split(".")
    assert json.loads((tmp_path / "config.json").read_text())[section][name] == value


def test_empty_workdir_takes_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_workdir(config(), "") == Path("runs/synthetic-smoke")
    stored = json.loads(Path("runs/synthetic-smoke/config.json").read_text())
    assert stored == json.loads(json.dumps(config().to_dict()))


RESULTS = (
    "predictions.csv",
    "checkpoints/30/_CHECKPOINT_METADATA",
    "checkpoints/round-2/30/_CHECKPOINT_METADATA",
    "base/checkpoints/30/_CHECKPOINT_METADATA",
)


def leave(result):
    result.parent.mkdir(parents=True, exist_ok=True)
    result.touch()


@pytest.mark.parametrize("result", RESULTS)
def test_folder_of_other_settings_is_refused_with_the_differences(tmp_path, result):
    open_workdir(config(), str(tmp_path))
    leave(tmp_path / result)
    before = (tmp_path / "config.json").read_bytes()
    other = config(**{"train.epochs": 5, "augment.variants": ("original", "up")})
    with pytest.raises(UserError) as caught:
        open_workdir(other, str(tmp_path))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}: the folder has a run with other settings:"
    assert "  train.epochs: the run has 30, now 5" in lines
    assert sum(line.startswith("  ") for line in lines) == 2
    assert lines[-1].startswith("Fix:")
    assert (tmp_path / "config.json").read_bytes() == before
    assert open_workdir(config(), str(tmp_path)) == tmp_path  # the same settings go on


def test_folder_in_which_nothing_was_trained_is_taken_over(tmp_path):
    open_workdir(config(), str(tmp_path))
    (tmp_path / "log.jsonl").touch()
    leave(tmp_path / "checkpoints/10.orbax-checkpoint-tmp/_CHECKPOINT_METADATA")  # half of one
    corrected = config(**{"evaluation.protocol": "k_fold", "train.epochs": 5})
    assert open_workdir(corrected, str(tmp_path)) == tmp_path
    assert json.loads((tmp_path / "config.json").read_text())["train"]["epochs"] == 5


@pytest.mark.parametrize("text", [b'{"name": "my-package"}', b"[]", b'{"preset": ', b"\xff\xfe"])
def test_a_file_of_something_else_is_not_overwritten(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(UserError, match=r"config\.json: cannot be read \(.*Fix: .*--workdir"):
        open_workdir(config(), str(tmp_path))
    assert (tmp_path / "config.json").read_bytes() == text


def test_of_a_field_that_is_newer_an_older_run_has_what_was_done_before_it(tmp_path):
    """Which the paper preset says, whatever the run's own preset makes of the field."""
    fast = get_config("synthetic", "fast")
    before = get_config("synthetic", "fast").to_dict()
    del before["evaluation"]["select"], before["model"]["remat"], before["augment"]["mode"]
    (tmp_path / "config.json").write_text(json.dumps(before))
    leave(tmp_path / "predictions.csv")
    with pytest.raises(UserError) as caught:
        open_workdir(fast, str(tmp_path))
    shown = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert shown == ["  augment.mode: the run has expand, now sample"]
    with fast.unlocked():
        fast.augment.mode = "expand"
    assert open_workdir(fast, str(tmp_path)) == tmp_path


def test_how_many_at_once_and_what_is_kept_or_reported_is_no_other_run():
    first = {"parallel": {"lift": "map"}, "train": {"checkpoints_kept": 2, "epochs": 3}}
    second = {
        "parallel": {"lift": "vmap", "folds_per_device": 4},
        "train": {"checkpoints_kept": 5, "epochs": 4},
        "report": {"inflated": True, "faces": False},
    }
    assert differences(first, second) == [("train.epochs", 3, 4)]


def test_folder_that_cannot_be_written_is_a_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=r"cannot be written \(.*Fix: .*--workdir"):
            open_workdir(config(), str(folder))


def test_log_keeps_events_in_order_and_drops_half_a_line(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    assert log.read() == []
    log.write("start", config="synthetic", devices=["cpu:0"])
    with log.path.open("a") as file:
        file.write('{"event": "epo\n')
    log.write("epoch", epoch=1, loss=0.5)
    assert log.read() == [
        {"event": "start", "config": "synthetic", "devices": ["cpu:0"]},
        {"event": "epoch", "epoch": 1, "loss": 0.5},
    ]
    assert Log(log.path).read() == log.read()


def test_log_survives_a_line_cut_off_without_its_end(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.write("start")
    with log.path.open("a") as file:
        file.write('{"event": "epo')
    resumed = Log(log.path)
    resumed.write("start", mode="train")
    assert resumed.read() == [{"event": "start"}, {"event": "start", "mode": "train"}]


class Full(io.FileIO):
    """A file on a disk that has room for ten more bytes, then for none."""

    room = 10

    def write(self, data):
        if not self.room:
            raise OSError(28, os.strerror(28))
        self.room -= (taken := min(self.room, len(data)))
        return super().write(data[:taken])


def test_log_keeps_what_a_full_disk_does_not_take(tmp_path, monkeypatch, capsys):
    log = Log(tmp_path / "log.jsonl")
    log.write("start")
    opened = Path.open

    def full(path, mode="r", *more, **how):
        return Full(path, "a") if "a" in mode else opened(path, mode, *more, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        log.write("epoch", epoch=1)
        log.write("epoch", epoch=2)
        assert [event.get("epoch") for event in log.read()] == [None, 1, 2]
    assert log.path.read_text() == '{"event": "start"}\n'
    log.write("epoch", epoch=3)
    assert [event.get("epoch") for event in Log(log.path).read()] == [None, 1, 2, 3]
    told = capsys.readouterr().err
    assert told.count("cannot be written now (No space left on device)") == 1


def test_stages_are_timed_and_logged_when_they_end_well(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    with log.stage("train") as stage:
        threading.Event().wait(0.02)
        stage.reused = True
    with pytest.raises(ZeroDivisionError), log.stage("evaluate"):
        raise ZeroDivisionError
    (event,) = log.read()
    assert event | {"seconds": 0} == {"event": "stage", "name": "train", "seconds": 0, "reused": 1}
    assert 0.02 <= event["seconds"] < 5


def test_two_runs_at_once_do_not_share_a_folder(tmp_path):
    with folders.lock(tmp_path), pytest.raises(UserError, match="another process is using"):
        run.run(config(), str(tmp_path), "report")
    with pytest.raises(UserError, match=r"predictions\.csv: no such file"):  # free again
        run.run(config(), str(tmp_path), "report")
    with folders.lock(tmp_path):
        pass
