"""Allowed values of the configuration's fields."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from data_prep import config as data_config
from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.config import zoo
from mser_jax.data import protocols
from mser_jax.evaluate import selection
from mser_jax.evaluate.compare import ablation

# Allowed values of fields that name a choice.
CHOICES = {
    "input.kind": ("flow", "frames", "images"),
    "input.scale": ("none", "clip", "unit"),
    "augment.mode": ("expand", "sample", "none"),
    "model.block": ("bottleneck", "basic"),
    "model.dtype": ("float32", "bfloat16"),
    "model.lowering": ("auto", "xla", "einsum", "frames"),
    "model.rc.restore": ("last", "pointwise"),
    "model.rc.chain": ("factorised", "depthwise"),
    "model.rc.weights": ("softmax", "free"),
    "evaluation.protocol": protocols.PROTOCOLS,
    "evaluation.select": selection.RULES,
    "train.optimizer": ("adam", "sgd"),
    "train.schedule": ("constant", "cosine", "step", "halves", "tenths"),
    "train.class_weights": ("none", "balanced"),
    "train.loss": ("cross_entropy", "margin"),
    "parallel.lift": ("auto", "vmap", "map"),
    "parallel.data": ("auto", "resident", "streamed"),
}


SUBSETS = {
    "input.channels": ("u", "v", "strain", "magnitude"),
    "augment.variants": ("original", "left", "right", "up", "down", "mirror", "flip"),
}


MINIMUMS = {
    "seed": 0,
    "model.width": 1,
    "model.rc.reduction": 1,
    "model.fusion.reduction": 1,
    "model.head.hidden": 1,
    "train.seeds": 1,
    "train.epochs": 1,
    "train.batch_size": 2,  # CAM's batch normalisation needs two clips for a variance
    "train.warmup": 0,
    "train.weight_decay": 0.0,
    "train.checkpoint_every": 1,
    "train.checkpoints_kept": 1,
    "model.head.dropout": 0.0,
    "evaluation.folds": 2,
    "parallel.folds_per_device": 0,
}


POSITIVE = ("train.learning_rate", "model.c")


def validate(config: ConfigDict) -> None:
    """Raise UserError if a field has a value that the program cannot use.

    Fields that a model's configuration lacks are skipped: only the paper's network has all.

    Args:
      config: Configuration of a run, an ablation or a suite.

    Raises:
      UserError: A value is not allowed; the message names the field, its value and allowed ones.
    """
    data_config.validate(config)
    check.one_of(config, _present_fields(config, CHOICES))
    check.subset(config, _present_fields(config, SUBSETS))
    check.at_least(config, _present_fields(config, MINIMUMS))
    check.positive(config, [field for field in POSITIVE if _has(config, field)])
    if config.seed + config.train.seeds > 2**32:
        raise UserError(
            f"config.seed: {config.train.seeds} seeds (config.train.seeds) from {config.seed} on "
            "go beyond 2**32 - 1. Fix: lower config.seed."
        )
    for field, check_field in _FIELD_CHECKS.items():
        if _has(config, field):
            check_field(config)
    _validate_held_out(config.evaluation.protocol, config.evaluation.held_out)


def _has(config: ConfigDict, field: str) -> bool:
    section, *rest = field.split(".", 1)
    return section in config and (not rest or _has(config[section], rest[0]))


def _present_fields(config: ConfigDict, table: Mapping[str, Any]) -> dict[str, Any]:
    return {field: allowed for field, allowed in table.items() if _has(config, field)}


def _validate_variants(config: ConfigDict) -> None:
    if "original" not in config.augment.variants:
        raise UserError(
            f"config.augment.variants is {config.augment.variants}; it must include 'original', "
            "because test clips are seen as the original."
        )


def _validate_depths(config: ConfigDict) -> None:
    depths = tuple(config.model.depths)
    if len(depths) != 4 or not all(isinstance(depth, int) and depth > 0 for depth in depths):
        raise UserError(
            f"config.model.depths is {config.model.depths}; it must be four counts of at least 1 "
            "(the residual units of blocks 2 to 5)."
        )


def _validate_dropout(config: ConfigDict) -> None:
    if config.model.head.dropout >= 1:
        raise UserError(
            f"config.model.head.dropout is {config.model.head.dropout}; it must be less than 1, "
            "because it is the share of dropped units."
        )


def _validate_input(config: ConfigDict) -> None:
    kind, scale = config.input.kind, config.input.scale
    if (kind == "images") != (config.data.dataset == "megc2019"):
        raise UserError(
            f"config.input.kind is {kind!r}, but the data set {config.data.dataset} has "
            f"{'images' if kind != 'images' else 'flow and frames'}. Fix: keep the default."
        )
    if (kind == "images" and scale == "clip") or (kind != "images" and scale == "unit"):
        raise UserError(
            f"config.input.scale is {scale!r}, but config.input.kind is {kind!r}: 'clip' needs the "
            "flow in px, and 'unit' divides images by 255. Fix: use another scale; 'none' suits "
            "every kind."
        )
    if kind == "images" and "magnitude" in config.input.channels:
        raise UserError(
            "config.input.channels has 'magnitude', but the images do not contain it. Fix: use u, "
            "v and strain."
        )


def _validate_warmup(config: ConfigDict) -> None:
    if config.train.warmup >= config.train.epochs:
        raise UserError(
            f"config.train.warmup is {config.train.warmup}, but config.train.epochs is "
            f"{config.train.epochs}; the warm-up must end before the last epoch."
        )


def _validate_model(config: ConfigDict) -> None:
    if config.model.name != config.preset:
        raise UserError(
            f"config.model.name is {config.model.name!r}, but the other fields are those of "
            f"{config.preset}. Fix: use --config=configs/megc2019.py:{config.model.name}."
        )
    if zoo.model(config.preset).classical and config.train.seeds > 1:
        raise UserError(
            f"config.train.seeds is {config.train.seeds}, but {config.preset} uses no random "
            "numbers, so every seed would give the same answers. Fix: leave it at 1."
        )


def _validate_loss(config: ConfigDict) -> None:
    capsules = config.model.get("name") == "capsulenet"
    if (config.train.loss == "margin") != capsules:
        raise UserError(
            f"config.train.loss is {config.train.loss!r}, but CapsuleNet needs the margin loss, "
            "because its outputs are lengths, and no other network can use it. Fix: keep the "
            "default."
        )


def _validate_held_out(protocol: str, held_out: str) -> None:
    if protocol == "hold_out" and not held_out:
        raise UserError(
            "config.evaluation.held_out is '', but protocol hold_out needs the database to test. "
            "Fix: name one, such as --config.evaluation.held_out=samm."
        )
    if protocol != "hold_out" and held_out:
        raise UserError(
            f"config.evaluation.held_out is {held_out!r} and would not be used. Fix: add "
            "--config.evaluation.protocol=hold_out, or set config.evaluation.held_out to ''."
        )


def _validate_models(config: ConfigDict) -> None:
    if config.suite.models:
        check.subset(config, {"suite.models": tuple(zoo.MODELS)})


def _validate_ablation(config: ConfigDict) -> None:
    check.subset(config, {"ablation.members": tuple(ablation.MEMBERS)})
    pairs = (*ablation.ADDED, *ablation.LEFT_OUT)
    if not ablation.available_comparisons(config.ablation.members, pairs):
        raise UserError(
            f"config.ablation.members is {tuple(config.ablation.members)}, but no two of them are "
            "compared. Fix: include both members of a pair: "
            + "; ".join(f"{pair.without} and {pair.with_}" for pair in pairs)
            + "."
        )
    for part in ablation.PARTS.values():
        if check.get(config, part.field) != part.enabled_value:
            raise UserError(
                f"config.{part.field} is {check.get(config, part.field)}, but each member of the "
                "ablation sets it. Fix: do not set it; choose members with config.ablation.members."
            )


# Checks that the tables above cannot express, by field or section.
_FIELD_CHECKS: Mapping[str, Callable[[ConfigDict], None]] = MappingProxyType(
    {
        "augment.variants": _validate_variants,
        "model.name": _validate_model,
        "model.depths": _validate_depths,
        "model.head.dropout": _validate_dropout,
        "train.warmup": _validate_warmup,
        "train.loss": _validate_loss,
        "input.kind": _validate_input,
        "suite": _validate_models,
        "ablation": _validate_ablation,
    }
)
