"""The configurations of megc2019 and of its models."""

import pytest

from data_prep.common.errors import UserError
from mser_jax.config import defaults, megc2019, networks, validation, zoo
from mser_jax.experiments import workdir

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
