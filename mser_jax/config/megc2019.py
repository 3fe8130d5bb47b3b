"""The configurations of the data set `megc2019`: one of each model, and one of all of them."""

from __future__ import annotations

from ml_collections import ConfigDict

from data_prep import config as data_config
from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.config import zoo

ALL = "all"  # in place of a model
# What a run of all models hands on to each: which clips, seeds and devices, and what is reported.
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
    """Turn the paper's configuration into that of a model, or of all.

    Args:
      paper_config: every section, as the paper's own network has it.
      name: one of `zoo.MODELS`, or 'all'.

    Raises:
      UserError: there is no such model.
    """
    if name not in (ALL, *zoo.MODELS):
        raise UserError(check.unknown_message("model", name, (ALL, *zoo.MODELS)))
    config = paper_config
    config.preset = name
    config.prep = data_config.image_recipe()
    del config.synthetic
    config.train.seeds = 5
    config.augment.mode = "none"
    config.input.kind = "images"
    if name == ALL:
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
    """What scikit-learn fits has no epochs, nothing that is drawn, and no use for devices."""
    config.train = ConfigDict({"seeds": 1})
    config.model = ConfigDict({"name": config.model.name})
    del config.augment, config.parallel, config.report


def _suite_config(config: ConfigDict) -> ConfigDict:
    """Which models, and what holds for each; the rest is each model's own."""
    for section in ("input", "augment", "model"):
        del config[section]
    config.train = ConfigDict(
        {"seeds": config.train.seeds, "checkpoint_every": config.train.checkpoint_every}
    )
    config.suite = ConfigDict()
    # Which models; () is all of them, without the large ones where there is no GPU.
    config.suite.models = ()
    return config


def apply_suite_fields(suite_config: ConfigDict, model_config: ConfigDict) -> ConfigDict:
    """Hand on to a model's own configuration what a run of all models sets for each.

    Args:
      suite_config: of all models.
      model_config: of one, as `configuration` made it.
    """
    made = ConfigDict(model_config.to_dict())
    for field in SUITE_FIELDS:
        section, _, name = field.partition(".")
        if section not in made or (name and name not in made[section]):
            continue
        if not name:
            made[section] = suite_config[section]
        elif not zoo.model(model_config.preset).classical:
            made[section][name] = suite_config[section][name]
    return made.lock()


def _set(config: ConfigDict, field: str, value: object) -> None:
    *path, last = field.split(".")
    for part in path:
        config = config[part]
    config[last] = value
