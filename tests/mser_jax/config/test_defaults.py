import ast
import inspect
from pathlib import Path

import pytest

import data_prep
import mser_jax
from data_prep import config as data_config
from data_prep.common.errors import UserError
from data_prep.common.fields import flatten
from data_prep.datasets import registry
from data_prep.stages import apex, face, flow, keyframes, magnify
from mser_jax.config import validation
from mser_jax.config.defaults import PRESETS, ablation_config, get_config
from mser_jax.config.validation import validate
from mser_jax.models.ops import conv

CHOICES = {**data_config.CHOICES, **validation.CHOICES}
LEAST = {**data_config.MINIMUMS, **validation.MINIMUMS}
STAGES = {
    "prep.face": face.crop,
    "prep.apex": apex.estimate,
    "prep.magnify": magnify.magnify,
    "prep.keyframes": keyframes.select,
    "prep.flow": flow.flow,
}
CALLED = {"prep": "recipe", "synthetic": "spec"}  # what data_prep calls the section it is given


def changed(field, value):
    config = get_config("synthetic", "smoke")
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    return config


def refusal(field, value):
    with pytest.raises(UserError) as caught:
        validate(changed(field, value))
    return str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dataset", sorted({*registry.SOURCES} - {"megc2019"}))  # which has models
def test_every_preset_is_valid_and_locked(dataset, preset):
    config = get_config(dataset, preset)
    validate(config)
    assert (config.name, config.data.dataset, config.preset) == (dataset, dataset, preset)
    with pytest.raises(AttributeError, match='Did you mean "epochs"'):
        config.train.epoch = 3


def test_unknown_preset_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown preset 'fsat'\. Did you mean 'fast'\?"):
        get_config("synthetic", "fsat")


# Of megc2019 and its models alone; test_baselines has them.
ELSEWHERE = {"input.kind": {"images"}, "input.scale": {"unit"}, "train.loss": {"margin"}}


@pytest.mark.parametrize("field", CHOICES)
def test_choices_are_accepted_and_nothing_else(field):
    for value in set(CHOICES[field]) - ELSEWHERE.get(field, set()):
        config = changed(field, value)
        config.evaluation.held_out = "samm" if value == "hold_out" else ""
        validate(config)
    typo = CHOICES[field][0] + "x"
    message = refusal(field, typo)
    assert f"config.{field} '{typo}'" in message
    assert f"Did you mean {CHOICES[field][0]!r}?" in message
    assert all(value in message for value in CHOICES[field])


@pytest.mark.parametrize("field", ["input.channels", "augment.variants", "prep.stages"])
def test_lists_hold_known_names_only(field):
    first = flatten(get_config("synthetic", "paper").to_dict())[field][0]
    assert f"Did you mean {first!r}?" in refusal(field, (first + "x",))
    assert f"config.{field} is ()" in refusal(field, ())


@pytest.mark.parametrize("field", LEAST)
def test_least_values_are_accepted_and_nothing_below(field):
    least = LEAST[field]
    validate(changed(field, least))
    below = f"config.{field} is {least - 1}; it must be at least {least}"
    assert below in refusal(field, least - 1)


@pytest.mark.parametrize("rate", [0.0, -1e-3, float("nan"), float("inf")])
def test_learning_rate_is_a_number_above_0(rate):
    assert f"config.train.learning_rate is {rate}" in refusal("train.learning_rate", rate)


@pytest.mark.parametrize("field", data_config.PAIRS)
@pytest.mark.parametrize("value", [3.0, (1.0,), (2.0, 1.0), (-1.0, 1.0), "ab", (0.5, float("inf"))])
def test_pairs_are_two_numbers_in_order(field, value):
    assert f"config.{field} is {value}; it must be two numbers" in refusal(field, value)


def test_the_database_that_is_held_out_goes_with_its_protocol():
    message = refusal("evaluation.protocol", "hold_out")
    assert "protocol hold_out needs the database" in message
    assert "--config.evaluation.held_out=samm" in message
    message = refusal("evaluation.held_out", "samm")
    assert "config.evaluation.held_out is 'samm' and would not be used" in message
    assert "--config.evaluation.protocol=hold_out" in message


@pytest.mark.parametrize("depths", [(1, 1, 1), (3, 4, 0, 3), (1, 1, 1, 1, 1)])
def test_depths_are_four_counts(depths):
    assert "four counts" in refusal("model.depths", depths)


def _sources():
    for package in (mser_jax, data_prep):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            if path.name != "config.py":
                yield path.read_text(encoding="utf-8")


def _reads(sources):
    """Every `owner.name` and `owner["name"]` in the text of programs, as (owner, name)."""
    found = set()
    for node in (node for text in sources for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            name = node.slice.value
        else:
            continue
        owner = node.value
        found.add((getattr(owner, "attr", getattr(owner, "id", None)), name))
    return found


def unread(config):
    """The fields that no program reads: neither `section.field` nor a stage's parameter."""
    reads = _reads(_sources())
    stage_fields = {
        f"{section}.{name}"
        for section, function in STAGES.items()
        for name in inspect.signature(function).parameters
    }
    left = []
    for field in flatten(config.to_dict()):
        *sections, name = ["config", *field.split(".")]
        owners = {sections[-1], CALLED.get(sections[-1])}
        if field not in stage_fields and not any((owner, name) in reads for owner in owners):
            left.append(field)
    return left


def test_every_field_has_a_reader():
    config = ablation_config(get_config("synthetic", "paper"))
    assert unread(config) == []
    with config.unlocked():
        config.train.beta = 0.9  # a field that nothing reads is found
        config.prep.flow.gamma = 1.0
    assert sorted(unread(config)) == ["prep.flow.gamma", "train.beta"]


def test_the_lowerings_are_those_of_the_convolutions():
    assert CHOICES["model.lowering"] == ("auto", *conv.LOWERINGS)
