"""The ablation as a user runs it, very small: what is trained, what is reused, what is written."""

import json
from pathlib import Path

import pytest

from data_prep.common.errors import UserError
from helpers.made_tables import made
from mser_jax.config import defaults
from mser_jax.evaluate import predictions_csv
from mser_jax.evaluate.compare.ablation import MEMBERS
from mser_jax.experiments import ablation, run
from mser_jax.experiments.workdir import open_workdir
from mser_jax.storage.log import Log


def config(data_dir, members=tuple(MEMBERS)):
    made_config = defaults.ablation_config(defaults.get_config("synthetic", "smoke"))
    made_config.update_from_flattened_dict(
        {"data.data_dir": str(data_dir), "ablation.members": members, "train.epochs": 2}
    )
    return made_config


@pytest.fixture
def trained(monkeypatch):
    """Stands for `run.run`: what it was asked for, and a table instead of a training."""
    asked = []

    def fake_run(member, workdir, mode):
        asked.append((member, workdir, mode))
        folder = Path(workdir)
        folder.mkdir(exist_ok=True)
        answers = [0, 1, 2, 0, 1, member.model.attention]
        predictions = made([0, 1, 2, 0, 1, 2], answers, subject=list("xxxyyy"))
        predictions_csv.write_csv(folder / "predictions.csv", predictions, "mean")

    monkeypatch.setattr(run, "run", fake_run)
    return asked


def test_each_network_is_trained_once_in_a_folder_of_its_own(trained, tmp_path, capsys):
    ablation.run_ablation(config("data"), str(tmp_path / "run"), "all")
    folders = [Path(workdir).name for _, workdir, _ in trained]
    assert folders == [name for name in MEMBERS if name != "no_fusion"]
    for (member, *_), folder in zip(trained, folders):
        assert member.to_dict() == defaults.ablation_member_config(config("data"), folder).to_dict()
    told = capsys.readouterr().out
    for number, name in enumerate(MEMBERS, 1):
        assert f"Member {number} of 9: {name}\n" in told
    assert "no_fusion is the same network as +rc: one training, used for both." in told
    assert "no_flow -> +fusion" in told
    members = json.loads((tmp_path / "run" / "ablation.json").read_text())["members"]
    assert [row["member"] for row in members] == list(MEMBERS)


def test_a_twin_is_trained_when_the_other_is_not_asked_for(trained, tmp_path):
    ablation.run_ablation(config("data", ("no_fusion", "+fusion")), str(tmp_path), "all")
    assert [Path(workdir).name for _, workdir, _ in trained] == ["+fusion", "+rc"]
    assert (tmp_path / "ablation.html").is_file()


def test_the_training_alone_compares_nothing(trained, tmp_path, capsys):
    ablation.run_ablation(config("data", ("base", "+flow")), str(tmp_path), "train")
    assert {mode for *_, mode in trained} == {"train"}
    assert not list(tmp_path.glob("ablation.*"))
    assert "->" not in capsys.readouterr().out


def test_the_log_keeps_the_calls_that_trained(trained, tmp_path):
    for mode in ("train", "evaluate", "report", "all"):
        ablation.run_ablation(config("data", ("base", "+flow")), str(tmp_path), mode)
    assert [start["mode"] for start in Log(tmp_path / "log.jsonl").read()] == ["train", "all"]


def test_a_run_and_a_series_do_not_share_a_folder(trained, tmp_path):
    ablation.run_ablation(config("data", ("base", "+flow")), str(tmp_path), "train")
    ablation.run_ablation(config("data", ("+flow", "+attention")), str(tmp_path), "train")
    with pytest.raises(UserError, match="name: the run has ablation-synthetic, now synthetic"):
        open_workdir(defaults.get_config("synthetic", "smoke"), str(tmp_path))
    other = config("data")
    other.train.epochs = 3
    with pytest.raises(UserError, match=r"train\.epochs: the run has 2, now 3"):
        ablation.run_ablation(other, str(tmp_path), "all")


def test_the_default_folder_is_that_of_all_members(monkeypatch, trained, tmp_path):
    monkeypatch.chdir(tmp_path)
    plain = defaults.ablation_config(defaults.get_config("synthetic", "smoke"))
    plain.ablation.members = ("base", "+flow")
    ablation.run_ablation(plain, "", "all")
    assert (tmp_path / "runs/ablation-synthetic-smoke/ablation.html").is_file()
