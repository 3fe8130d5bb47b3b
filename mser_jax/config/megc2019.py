"""Configurations of the data set `megc2019`: one for each model, and one for all of them."""

from __future__ import annotations

from ml_collections import ConfigDict

from data_prep import config as data_config
from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.config import zoo

ALL_MODELS = "all"  # stands for a model's name
# Fields that a suite passes on to each model: clips, seeds, devices and reports.
SUITE_FIELDS = (
    *("seed", "data", "train.seeds", "train.checkpoint_every"),
    *("evaluation", "parallel", "report"),
)
_MSRES3D_FIELDS = (
    "block",
    "width",
    "depths",
    "attention",
    "rc",
    "fusion",
    "head",
    "dtype",
    "remat",
)


def configuration(paper_config: ConfigDict, name: str) -> ConfigDict:
    """Convert the paper's configuration to the configuration of one or all models.

    Args:
      paper_config: Configuration of the paper's network, with every section; it is changed.
      name: One of `zoo.MODELS`, or 'all'.

    Returns:
      The configuration, not locked.

    Raises:
      UserError: The model does not exist.
    """
    if name not in (ALL_MODELS, *zoo.MODELS):
        raise UserError(check.unknown_message("model", name, (ALL_MODELS, *zoo.MODELS)))
    config = paper_config
    config.preset = name
    config.prep = data_config.image_recipe()
    del config.synthetic
    config.train.seeds = 5
    config.augment.mode = "none"
    config.input.kind = "images"
    if name == ALL_MODELS:
        return _suite_config(config)
    return _model_config(config, name)


def _model_config(config: ConfigDict, name: str) -> ConfigDict:
    model = zoo.model(name)
    config.model.name = name  # of mser_jax.config.zoo, with its paper
    if name != "msres2d":
        for field in _MSRES3D_FIELDS:
            del config.model[field]
    if model.classical:
        _drop_training_fields(config)
    for field, value in {**zoo.COMMON_FIELDS, **model.fields}.items():
        _set(config, field, value)
    return config


def _drop_training_fields(config: ConfigDict) -> None:
    """Remove the fields that a scikit-learn model does not use.

    It has no epochs, no random numbers, and no use for devices.
    """
    config.train = ConfigDict({"seeds": 1})
    config.model = ConfigDict({"name": config.model.name})
    del config.augment, config.parallel, config.report


def _suite_config(config: ConfigDict) -> ConfigDict:
    """Keep the fields that hold for each model, and add the list of models."""
    for section in ("input", "augment", "model"):
        del config[section]
    config.train = ConfigDict(
        {"seeds": config.train.seeds, "checkpoint_every": config.train.checkpoint_every}
    )
    config.suite = ConfigDict()
    # Names of the models; () is all of them, but the large ones only with a GPU.
    config.suite.models = ()
    return config


def apply_suite_fields(suite_config: ConfigDict, model_config: ConfigDict) -> ConfigDict:
    """Copy the fields that a suite sets for each model to a model's configuration.

    Fields that the model lacks are skipped, and so are the training fields of a classical model.

    Args:
      suite_config: Configuration of the suite of all models.
      model_config: Configuration of one model, from `configuration`.

    Returns:
      A locked copy of `model_config` with these fields.
    """
    result = ConfigDict(model_config.to_dict())
    for field in SUITE_FIELDS:
        section, _, name = field.partition(".")
        if section not in result or (name and name not in result[section]):
            continue
        if not name:
            result[section] = suite_config[section]
        elif not zoo.model(model_config.preset).classical:
            result[section][name] = suite_config[section][name]
    return result.lock()


def _set(config: ConfigDict, field: str, value: object) -> None:
    *path, last = field.split(".")
    for section in path:
        config = config[section]
    config[last] = value
