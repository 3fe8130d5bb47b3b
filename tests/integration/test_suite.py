"""The models of megc2019 as a user runs them, on a drawn release."""

import csv
import json

import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.synthetic.release import tree
from mser_jax.config import defaults
from mser_jax.evaluate import predictions as table
from mser_jax.evaluate import predictions_csv
from mser_jax.experiments import suite


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("megc2019") / "clone"
    tree.write("megc2019", folder, subjects=2, clips=4, size=96)
    return folder


def small(release, folder, name, **changes):
    config = defaults.get_config("megc2019", name)
    config.update_from_flattened_dict(
        {"data.manual_dir": str(release), "data.data_dir": str(folder / "data"), **changes}
    )
    return config


SHORT = {"train.epochs": 2, "train.batch_size": 16}


def test_all_models_in_one_command_which_goes_on(release, tmp_path, capsys, monkeypatch):
    chosen = ("majority", "svm_linear", "mirror_svm", "ststnet")
    of_suite = defaults.suite_model_config

    def shortened(config, name):
        member = of_suite(config, name)
        if name == "ststnet":
            member.update_from_flattened_dict(SHORT)
        return member

    monkeypatch.setattr(defaults, "suite_model_config", shortened)
    changes = {"suite.models": chosen, "train.seeds": 2}
    suite.run_suite(small(release, tmp_path, "all", **changes), str(tmp_path / "run"), "all")
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) < 200
    assert "Estimating ststnet" in told
    results = json.loads((tmp_path / "run" / "suite.json").read_text())
    assert [row["model"] for row in results["models"]] == list(chosen)
    predictions = predictions_csv.read_csv(tmp_path / "run" / "ststnet" / "predictions.csv")
    assert set(predictions.seed.tolist()) == {0, 1}
    for fold, subject, dataset in zip(predictions.fold, predictions.subject, predictions.dataset):
        assert fold == f"{dataset}/{subject}"
    with (tmp_path / "run" / "suite.csv").open() as file:
        assert [line["model"] for line in csv.DictReader(file)] == list(chosen)
    page = (tmp_path / "run" / "suite.html").read_text()
    assert "CapsuleNet" in page, "the others are told"

    suite.run_suite(small(release, tmp_path, "all", **changes), str(tmp_path / "run"), "all")
    again = capsys.readouterr().out
    assert "Estimating" not in again
    assert "Reused the trained folds" in again
    assert json.loads((tmp_path / "run" / "suite.json").read_text()) == results


def test_a_model_that_cannot_be_run_is_told_and_the_others_go_on(
    release, tmp_path, capsys, monkeypatch
):
    def broken(config, *others, **options):
        if config.preset == "svm_linear":
            raise UserError("too little memory")
        return real(config, *others, **options)

    real = suite.run.fit
    config = small(release, tmp_path, "all", **{"suite.models": ("svm_linear", "majority")})
    (tmp_path / "run" / "svm_linear").mkdir(parents=True)
    (tmp_path / "run" / suite.ESTIMATES).write_text("{")  # cut short by an earlier version
    stale = table.Predictions(
        *(np.array([name]) for name in ("smic", "s01", "c")),
        seed=np.zeros(1, int),
        fold=np.array(["smic/s01"]),
        label=np.zeros(1, int),
        probabilities=np.eye(3, dtype=np.float32)[:1, None],
        train_loss=np.zeros((1, 1), np.float32),
        class_names=("negative", "positive", "surprise"),
    )
    predictions_csv.write_csv(tmp_path / "run" / "svm_linear" / "predictions.csv", stale, "mean")
    monkeypatch.setattr(suite.run, "fit", broken)
    suite.run_suite(config, str(tmp_path / "run"), "all")
    out = capsys.readouterr().out
    assert "svm_linear cannot be estimated: too little memory" in out
    assert "svm_linear has no result: too little memory" in out
    told = json.loads((tmp_path / "run" / "suite.json").read_text())
    assert [row["model"] for row in told["models"]] == ["majority"]
    assert told["not_run"]["svm_linear"] == "too little memory"


def test_before_anything_has_run_there_is_nothing_to_report(release, tmp_path):
    with pytest.raises(UserError, match="nothing has run here yet"):
        suite.run_suite(small(release, tmp_path, "all"), str(tmp_path / "run"), "report")


def test_what_was_fitted_to_other_clips_is_not_reused(release, tmp_path):
    other = tmp_path / "other"
    tree.write("megc2019", other, subjects=2, clips=4, size=96, seed=1)
    config = small(release, tmp_path, "svm_linear")
    suite.run.run(config, str(tmp_path / "run"), "all")
    one = predictions_csv.read_csv(tmp_path / "run" / "predictions.csv")
    suite.run.run(small(other, tmp_path, "svm_linear"), str(tmp_path / "run"), "all")
    again = predictions_csv.read_csv(tmp_path / "run" / "predictions.csv")
    assert not np.array_equal(one.train_loss, again.train_loss) or not np.array_equal(
        one.probabilities, again.probabilities
    )
