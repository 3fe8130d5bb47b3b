"""The ablation with real trainings: stopped, repeated, and compared."""

import json

import pytest

from mser_jax.config import defaults
from mser_jax.experiments import ablation, run

SMALL = {
    "synthetic.subjects": 3,
    "synthetic.clips_per_subject": 4,
    "synthetic.size": 64,
    "synthetic.fps": 50.0,
    "prep.size": 32,
    "prep.steps": 4,
    "data.workers": 0,
    "model.width": 4,
    "model.head.hidden": 8,
    "train.epochs": 2,
}


def config(data_dir, members):
    made_config = defaults.ablation_config(defaults.get_config("synthetic", "smoke"))
    made_config.update_from_flattened_dict(
        SMALL | {"data.data_dir": str(data_dir), "ablation.members": members}
    )
    return made_config


def test_stopped_and_repeated_it_goes_on_where_it_was(monkeypatch, tmp_path, capsys, unoptimised):
    """With real trainings of the two smallest members, of two seeds."""
    small, folder = config(tmp_path / "data", ("base", "+flow")), tmp_path / "run"
    small.train.seeds = 2
    whole_run = run.run

    def stopped_at_the_second(member, workdir, mode):
        if member.input.kind == "flow":
            raise KeyboardInterrupt
        whole_run(member, workdir, mode)

    monkeypatch.setattr(run, "run", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        ablation.run_ablation(small, str(folder), "all")
    monkeypatch.undo()
    assert not (folder / "ablation.json").exists()
    base = (folder / "base" / "predictions.csv").read_bytes()
    assert "Reused the trained folds" not in capsys.readouterr().out

    ablation.run_ablation(small, str(folder), "all")
    first, second = capsys.readouterr().out.split("Member 2 of 2: +flow")
    assert "Reused the trained folds" in first
    assert f"Reused {folder / 'base' / 'predictions.csv'}" in first
    assert "clips, prepared before" in second, "the same set serves frames and flow"
    assert "Reused the trained folds" not in second
    assert "Training 6 folds (2 seeds of 3) on" in second
    assert "base -> +flow" in second
    assert second.count("  deviation over seeds") == 3  # of the run, and of both members
    assert (folder / "base" / "predictions.csv").read_bytes() == base
    assert (folder / "base" / "report.html").is_file()

    results = json.loads((folder / "ablation.json").read_text())
    (compared,) = results["added"]
    scores = {
        name: json.loads((folder / name / "metrics.json").read_text())["uf1"]
        for name in ("base", "+flow")
    }
    assert [row["seeds"] for row in results["members"]] == [[0, 1]] * 2
    gain = scores["+flow"] - scores["base"]
    assert compared["difference"]["uf1"] == pytest.approx(gain)

    page = (folder / "ablation.html").read_text()
    (folder / "ablation.html").unlink()
    (folder / "ablation.json").unlink()
    ablation.run_ablation(small, str(folder), "report")
    assert (folder / "ablation.html").read_text() == page
    assert json.loads((folder / "ablation.json").read_text()) == results
    assert "prepare" not in capsys.readouterr().out
