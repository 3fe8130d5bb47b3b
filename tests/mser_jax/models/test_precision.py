"""The network in bfloat16: what is narrow, what stays float32, and how far apart the two are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers.toy import FOLDS, LIFTS, Toy, program, trained, trainer
from helpers.toy_clips import made_clips
from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings, functional
from mser_jax.models.affa import AFFA
from mser_jax.models.layers import BatchNorm, global_max, global_mean
from mser_jax.models.multiscale import RC1, RC2, RC3
from mser_jax.models.resnet3d import Basic, Bottleneck, Stem

BFLOAT16 = MSRes3DSettings(
    classes=3, block="basic", width=2, depths=(1, 1, 1, 1), hidden=8, dtype="bfloat16"
)
CLIPS = (4, 4, 20, 20, 3)


def network(settings):
    return functional(lambda rngs: MSRes3D(settings, rngs=rngs))


def types(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def drawn(*shape, seed=0, mean=0.0):
    return jnp.asarray(np.random.default_rng(seed).normal(mean, 1, shape), jnp.float32)


def gradients(of, params, stats, x):
    def loss(params):
        logits, moved = of.apply(params, stats, x, None, True)
        return jnp.sum(logits**2), (logits, moved)

    return jax.grad(loss, has_aux=True)(params)


def test_maps_are_bfloat16_and_all_that_is_kept_float32():
    def maps(x):
        model = MSRes3D(BFLOAT16, rngs=nnx.Rngs(0))
        features = model.features(x)
        return features, model.fuse(features)

    x = jax.ShapeDtypeStruct(CLIPS, jnp.float32)
    assert types(jax.eval_shape(maps, x)) == {"bfloat16"}
    of = network(BFLOAT16)
    state = jax.eval_shape(of.init, jax.random.key(0))
    grads, (logits, moved) = jax.eval_shape(lambda *given: gradients(of, *given), *state, x)
    for kept in (*state, grads, logits, moved):
        assert types(kept) == {"float32"}


def test_nothing_is_narrowed_where_clips_and_weights_are_float64():
    with jax.enable_x64(True):
        of = network(dataclasses.replace(BFLOAT16, dtype="float32"))
        shapes = *jax.eval_shape(of.init, jax.random.key(0)), jax.ShapeDtypeStruct(CLIPS, "float64")
        wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, "float64"), shapes)
        program = str(jax.make_jaxpr(lambda *given: gradients(of, *given))(*wide))
    assert "f64[" in program
    assert "f32[" not in program
    assert "f16[" not in program


def test_gradients_are_of_their_weights_type_where_clips_are_narrower():
    with jax.enable_x64(True):
        of = network(dataclasses.replace(BFLOAT16, dtype="float32"))
        state = jax.eval_shape(of.init, jax.random.key(0))
        assert types(state) == {"float64"}
        x = jax.ShapeDtypeStruct(CLIPS, "float32")
        by_weights, _ = jax.eval_shape(lambda *given: gradients(of, *given), *state, x)
        assert types(by_weights) == {"float64"}


def test_statistics_of_narrow_maps_are_those_of_float32():
    x = drawn(4, 4, 17, 17, 3, mean=20).astype(jnp.bfloat16)  # 8 bits: steps of 1/8
    exact = np.asarray(x, np.float64)
    norm = BatchNorm(3)
    assert norm(x).dtype == x.dtype
    mean, variance = exact.mean((0, 1, 2, 3)), exact.var((0, 1, 2, 3))
    np.testing.assert_allclose(norm.mean[...], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * variance, rtol=1e-5)
    np.testing.assert_allclose(global_mean(x), exact.mean((1, 2, 3), keepdims=True), rtol=1e-6)
    assert types((global_mean(x), global_max(x))) == {"float32"}


STYLE = BranchStyle()
PARTS = {
    "stem": lambda rngs: Stem(32, 8, attention=True, rngs=rngs),
    "basic": lambda rngs: Basic(32, 16, 2, rngs=rngs),
    "bottleneck": lambda rngs: Bottleneck(32, 8, 1, rngs=rngs),
    "RC1": lambda rngs: RC1(32, STYLE, rngs=rngs),
    "RC2": lambda rngs: RC2(32, BranchStyle(chain="depthwise"), rngs=rngs),
    "RC3": lambda rngs: RC3(32, STYLE, rngs=rngs),
    "AFFA": lambda rngs: AFFA(32, 4, rngs=rngs),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_in_bfloat16_is_within_two_percent_of_itself_in_float32(name, unoptimised):
    """Root mean square, relative to the outputs' deviation; a rounding is 0.2 percent.

    The parts and not the network: at its start the normalisations of a random network enlarge any
    difference, so that rounding nothing but its weights and clips moves its logits by a tenth.
    """
    part = PARTS[name](nnx.Rngs(0))
    maps = [drawn(12, 4, 8, 8, 32, seed=seed) for seed in range(2 if name == "AFFA" else 1)]
    wide, narrow = part(*maps), part(*(x.astype(jnp.bfloat16) for x in maps))
    assert narrow.dtype == jnp.bfloat16
    error = np.sqrt(np.mean((np.asarray(narrow, np.float32) - wide) ** 2))
    assert 0 < error < 0.02 * np.std(wide)


def test_logits_of_the_running_statistics_are_close(unoptimised):
    """No batch statistic enlarges the difference here: as above, within five percent."""
    both = [
        network(dataclasses.replace(BFLOAT16, width=8, dtype=d)) for d in ("float32", "bfloat16")
    ]
    state = jax.jit(both[0].init)(jax.random.key(0))
    wide, narrow = (
        jax.jit(of.apply, static_argnums=4)(*state, drawn(*CLIPS), None, False)[0] for of in both
    )
    error = np.sqrt(np.mean((narrow - wide) ** 2, axis=(0, 2)))
    assert np.all(error < 0.05 * np.std(wide, axis=(0, 2)))
    assert error.any()


def loss_of(seen):
    return np.array([progress.losses[: len(FOLDS)].sum(axis=1) for progress in seen])


class Narrow(Toy):
    def __call__(self, x, mask=None, key=None):
        return super().__call__(x.astype(jnp.bfloat16), mask)


@pytest.mark.parametrize("lift", LIFTS)
def test_every_fold_learns_in_bfloat16_under_either_lift(lift):
    toy = functional(lambda rngs: Narrow(rngs=rngs))
    made = program(trainer(network=toy, devices=4, lift=lift))
    state, seen = trained(made, made_clips(), epochs=20)
    assert types(state.params) | types(state.batch_stats) == {"float32"}
    assert np.all(loss_of(seen)[-1] < 0.75 * loss_of(seen)[0])


@pytest.mark.slow
def test_the_papers_network_learns_in_bfloat16_with_its_stages_computed_anew(unoptimised):
    of = network(dataclasses.replace(BFLOAT16, remat=True))
    how = {"batch_size": 9, "augment": "none", "lift": "vmap", "heads": 4}
    of = trainer(network=of, devices=4, size=20, **how)
    _, seen = trained(program(of), made_clips(side=24), epochs=30)
    loss = loss_of(seen).mean(axis=1)
    assert loss[-1] < loss[0] / 2
