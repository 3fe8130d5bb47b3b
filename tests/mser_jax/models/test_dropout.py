"""Dropout between the fully connected layers of the heads."""

import dataclasses
import types
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mser_jax.models import MSRes3D, MSRes3DSettings, functional
from mser_jax.models.msres3d import Head

X = np.random.default_rng(0).standard_normal((2, 1, 2, 2, 6)).astype(np.float32)


def dropout(x, rate, key):
    return nnx.Dropout(rate)(x, rngs=key)


@pytest.fixture(scope="module")
def head():
    """A head that drops half of its hidden units, with weights made by NumPy: nothing compiles."""
    graph, params = nnx.split(nnx.eval_shape(lambda: Head(6, 200, 3, 0.5, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(1)
    drawn = jax.tree.map(lambda p: rng.standard_normal(p.shape).astype(np.float32), params)
    return nnx.merge(graph, jax.tree.map(jnp.asarray, drawn))


@pytest.fixture(scope="module")
def logits(head):
    """The head on `X`, compiled; its argument is a key."""
    return jax.jit(lambda key: head(jnp.asarray(X), key))


@pytest.mark.parametrize("rate", [0.1, 0.8])
def test_share_and_mean_are_those_that_were_asked_for(rate):
    ones = np.ones((500, 400), np.float32)
    dropped = np.asarray(jax.jit(lambda x, key: dropout(x, rate, key))(3 * ones, jax.random.key(0)))
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 3 / (1 - rate), rtol=1e-6)
    deviation = (rate * (1 - rate) / dropped.size) ** 0.5
    assert abs(kept.mean() - (1 - rate)) < 4 * deviation
    assert abs(dropped.mean() / 3 - 1) < 4 * deviation / (1 - rate)
    # Each entry falls by itself: no row and no column of them together.
    for axis, entries in enumerate(dropped.shape):
        of_a_line = (rate * (1 - rate) / entries) ** 0.5
        assert np.std(kept.mean(axis=axis)) == pytest.approx(of_a_line, rel=0.2)


def test_gradient_passes_where_an_entry_is_kept():
    def total(x, key):
        dropped = dropout(x, 0.5, key)
        return jnp.sum(dropped), dropped

    x = np.linspace(1, 2, 40, dtype=np.float32).reshape(4, 10)
    gradient, dropped = jax.jit(jax.grad(total, has_aux=True))(x, jax.random.key(1))
    np.testing.assert_array_equal(gradient, np.where(np.asarray(dropped) != 0, 2, 0))
    assert 0 < np.count_nonzero(gradient) < x.size


def test_hidden_units_are_dropped_and_inputs_and_logits_are_not(head, logits):
    key = jax.random.key(0)
    first, second = (
        [np.asarray(value[...]) for value in (layer.kernel, layer.bias)]
        for layer in (head.first, head.second)
    )
    hidden = np.maximum(X.mean(axis=(1, 2, 3)) @ first[0] + first[1], 0)
    wanted = np.asarray(dropout(jnp.asarray(hidden), 0.5, key)) @ second[0] + second[1]
    np.testing.assert_allclose(logits(key), wanted, rtol=1e-4, atol=1e-4)
    whole = hidden @ second[0] + second[1]
    np.testing.assert_allclose(logits(None), whole, rtol=1e-4, atol=1e-4)
    assert not np.allclose(wanted, whole, atol=1)


def test_each_head_draws_from_a_key_of_its_own(head, logits):
    """Four times the same head on the same map: what differs is the key."""
    four = types.SimpleNamespace(
        heads=[head] * 4,
        fuse=lambda maps, mask: [jnp.asarray(X)] * 4,
        _head_keys=lambda key: MSRes3D._head_keys(cast(MSRes3D, four), key),
    )
    of_all = jax.jit(lambda key: MSRes3D.head_logits(cast(MSRes3D, four), [], None, key))
    key = jax.random.key(0)
    made = np.asarray(of_all(key))
    for number in range(4):
        wanted = logits(jax.random.fold_in(key, number))
        np.testing.assert_allclose(made[:, number], wanted, rtol=1e-4, atol=1e-4)
        assert not np.allclose(made[:, number], made[:, number - 1], atol=1)


def test_dropout_is_in_the_program_of_training_alone():
    """What JAX traces of a small network with four heads."""
    small = MSRes3DSettings(
        classes=3, width=2, depths=(1, 1, 1, 1), attention=False, rc=None, hidden=8
    )
    settings = {rate: dataclasses.replace(small, dropout=rate) for rate in (0.0, 0.5)}
    networks = {
        rate: functional(lambda rngs, made=made: MSRes3D(made, rngs=rngs))
        for rate, made in settings.items()
    }
    state = jax.eval_shape(networks[0.0].init, jax.random.key(0))

    def program(rate, train, key):
        def forward(params, stats, x):
            return networks[rate].apply(params, stats, x, None, train, key)

        clips = jax.ShapeDtypeStruct((2, 4, 20, 20, 3), jnp.float32)
        return str(jax.make_jaxpr(forward)(*state, clips))

    key = jax.random.key(0)
    dropping = program(0.5, True, key)
    assert "random_bits" in dropping
    assert dropping.count("random_fold_in") == 4
    assert "random" not in program(0.5, False, key)
    without = program(0.0, True, None)
    assert "random" not in without
    assert program(0.0, True, key) == without


@pytest.mark.parametrize("lift", ["vmap", "map"])
def test_a_key_drops_the_same_alone_and_beside_others(lift, head, logits):
    def one(key):
        return head(jnp.asarray(X), key)

    lifted = jax.vmap(one) if lift == "vmap" else lambda keys: jax.lax.map(one, keys)
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(lifted)(keys)
    for key, of_key in zip(keys, together):
        np.testing.assert_allclose(of_key, logits(key), rtol=1e-4, atol=1e-4)
    assert not np.allclose(together[0], together[1], atol=1)
