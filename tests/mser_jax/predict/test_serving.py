import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.config import margin
from helpers.made_tables import made
from mser_jax.data import augment
from mser_jax.data.augment import Clips, View
from mser_jax.evaluate import calibration, selection
from mser_jax.predict import serving
from mser_jax.predict.serving import HeadSelector

RANDOM = np.random.default_rng(3)
HEADS = RANDOM.dirichlet([1.0, 1.0, 1.0], size=(20, 4)).astype(np.float32)


def said(rule: HeadSelector) -> serving.Output:
    return jax.tree.map(np.asarray, rule(jnp.asarray(HEADS)))


@pytest.mark.parametrize("name", serving.RULES)
def test_a_rule_answers_as_the_table_does(name):
    losses = np.tile(np.array([3, 1, 2, 4], np.float32), (20, 1))
    predictions = made([0] * 20, [0] * 20)
    table = dataclasses.replace(predictions, probabilities=HEADS, train_loss=losses)
    answer, head = selection.choose(table, name)
    ours = said(HeadSelector(name, best=1))
    np.testing.assert_array_equal(ours.head, head)
    np.testing.assert_allclose(ours.probabilities, answer, rtol=1e-5)
    np.testing.assert_array_equal(ours.heads, HEADS)


def test_every_rule_that_needs_no_label_is_there():
    assert set(serving.RULES) == set(selection.RULES) - {selection.UPPER_BOUND}


def test_a_temperature_is_the_power_of_the_answer_alone():
    plain, warm = (
        said(HeadSelector("confidence")),
        said(HeadSelector("confidence", temperature=2.0)),
    )
    rooted = np.sqrt(plain.probabilities)
    np.testing.assert_allclose(
        warm.probabilities, rooted / rooted.sum(-1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_array_equal(warm.head, plain.head)
    np.testing.assert_array_equal(warm.heads, plain.heads)


def test_the_temperature_scales_as_it_was_fitted():
    heads = np.array([[[0.7, 0.3, 0.0]], [[1.0, 1e-20, 1e-20]], [[0.2, 0.3, 0.5]]], np.float32)
    for temperature in (0.4, 1.0, 10.0):
        served = HeadSelector("mean", temperature=temperature)(jnp.asarray(heads)).probabilities
        fitted = calibration.apply_temperature(heads[:, 0], temperature)
        np.testing.assert_allclose(served, fitted, rtol=1e-4, atol=1e-7)


def test_a_probability_of_zero_stays_finite():
    certain = jnp.array([[[1.0, 0.0, 0.0]]])
    found = np.asarray(HeadSelector("mean", temperature=3.0)(certain).probabilities)
    assert np.isfinite(found).all()
    assert found[0, 0] > 0.999


@pytest.mark.parametrize(
    ("kind", "scale", "channels", "depth"),
    [
        ("flow", "clip", ("u", "v", "strain"), 2),
        ("flow", "none", ("u", "magnitude"), 2),
        ("frames", "clip", (), 1),
        ("images", "unit", ("u", "v", "strain"), 3),
    ],
)
def test_a_clip_is_seen_as_the_training_sees_it(kind, scale, channels, depth):
    size = 16
    side = size + (0 if kind == "images" else 2 * margin(size))
    high = 5 if kind == "flow" else 255
    pixels = RANDOM.uniform(0, high, size=(2, 3, side, side, depth)).astype(np.float32)
    view = View(size, ("original",), channels, images=kind == "images")
    stored_scale = "unit" if kind == "frames" else scale
    factors = [augment.scale_factor(clip, stored_scale, size, np) for clip in pixels]
    factors = np.array(factors, np.float32)
    every = jnp.arange(2)
    wanted = view(Clips(jnp.asarray(pixels), jnp.asarray(factors), every), every, 0 * every)
    seen = serving.make_preprocess_fn(view, scale)(jnp.asarray(pixels))
    np.testing.assert_allclose(seen, wanted, rtol=1e-4, atol=1e-5)
