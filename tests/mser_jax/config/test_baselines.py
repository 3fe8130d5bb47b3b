"""The configurations of megc2019, and its models as a user runs them, on a drawn release."""

import csv
import json

import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.synthetic.release import tree
from mser_jax.config import defaults, megc2019, networks, validation, zoo
from mser_jax.evaluate import predictions as table
from mser_jax.evaluate import predictions_csv
from mser_jax.experiments import suite, workdir

NETWORKS = [name for name, model in zoo.MODELS.items() if not model.classical]


@pytest.mark.parametrize("name", [*zoo.MODELS, megc2019.ALL_MODELS])
def test_every_model_has_a_configuration_that_is_valid(name):
    config = defaults.get_config("megc2019", name)
    validation.validate(config)
    assert workdir.default_workdir(config).name == f"megc2019-{name}"
    assert workdir.differences(defaults.legacy_defaults(config).to_dict(), config.to_dict()) == []


@pytest.mark.parametrize("name", zoo.MODELS)
def test_a_model_has_its_published_settings_and_no_field_without_a_reader(name):
    config = defaults.get_config("megc2019", name)
    for field, value in zoo.MODELS[name].fields.items():
        section, _, last = field.rpartition(".")
        assert config[section][last] == value
    assert "synthetic" not in config
    if name in NETWORKS and name != "msres2d":
        assert set(config.model.keys()) == {"name", "lowering"}
    assert networks.is_network(config) == (name in NETWORKS)


def test_an_unknown_model_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown model 'stsnet'. Did you mean 'ststnet'\?"):
        defaults.get_config("megc2019", "stsnet")
    config = defaults.get_config("megc2019", "all")
    config.suite.models = ("rcnn",)
    with pytest.raises(UserError, match=r"config.suite.models 'rcnn'. Did you mean 'rcn'\?"):
        validation.validate(config)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("input.kind", "flow", "the data set megc2019 has images"),
        ("input.scale", "clip", "'clip' needs the flow in px"),
        ("input.channels", ("u", "magnitude"), "the images do not contain it"),
        ("train.loss", "margin", "CapsuleNet needs the margin loss"),
        ("model.name", "rcn", "Fix: use --config=configs/megc2019.py:rcn"),
    ],
)
def test_what_the_images_cannot_be_is_refused(field, value, told):
    config = defaults.get_config("megc2019", "ststnet")
    section, last = field.split(".")
    config[section][last] = value
    with pytest.raises(UserError, match=told):
        validation.validate(config)


def test_what_draws_nothing_has_no_seeds():
    config = defaults.get_config("megc2019", "mirror_svm")
    config.train.seeds = 5
    with pytest.raises(UserError, match="every seed would give the same answers"):
        validation.validate(config)


def test_what_is_set_for_all_holds_for_each():
    config = defaults.get_config("megc2019", "all")
    config.seed, config.train.seeds, config.data.manual_dir = 7, 2, "/clone"
    config.parallel.lift = "vmap"
    config.evaluation.protocol = "k_fold"
    ststnet = defaults.suite_model_config(config, "ststnet")
    assert (ststnet.seed, ststnet.train.seeds, ststnet.data.manual_dir) == (7, 2, "/clone")
    assert (ststnet.parallel.lift, ststnet.train.epochs) == ("vmap", 800)
    assert ststnet.evaluation.protocol == "k_fold"
    svm = defaults.suite_model_config(config, "svm_linear")
    assert (svm.seed, svm.train.seeds, svm.data.manual_dir) == (7, 1, "/clone")
    for name in zoo.MODELS:
        validation.validate(defaults.suite_model_config(config, name))


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
