"""Inputs that could make a NaN or silence a weight, through the whole network and its gradients."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings, functional
from mser_jax.models.affa import CAM

pytestmark = pytest.mark.usefixtures("unoptimised")

CLIPS, BLOCKS = (4, 4, 20, 20, 3), {"basic": 8, "bottleneck": 4}
FULL = np.ones(CLIPS[0], bool)


@functools.cache
def network(block):
    # A single channel in the middle of a CAM or a branch would have no gradient: the next batch
    # normalisation undoes its scale.
    settings = MSRes3DSettings(
        classes=3,
        block=block,
        width=BLOCKS[block],
        depths=(1, 1, 1, 1),
        rc=BranchStyle(reduction=2),
        cam_reduction=2,
        hidden=4,
    )
    return functional(lambda rngs: MSRes3D(settings, rngs=rngs))


@functools.cache
def program(block, train):
    """`(x, mask) -> (logits, running statistics, gradients)` of fresh weights, compiled once."""

    def run(x, mask):
        params, stats = network(block).init(jax.random.key(1))
        cotangent = jax.random.normal(jax.random.key(2), (CLIPS[0], 4, 3))

        def loss(params):
            logits, moved = network(block).apply(params, stats, x, mask, train)
            return jnp.sum(logits * cotangent * mask.reshape(-1, 1, 1)), (logits, moved)

        gradients, (logits, moved) = jax.grad(loss, has_aux=True)(params)
        return logits, moved, gradients

    return jax.jit(run)


def noise():
    return np.random.default_rng(0).standard_normal(CLIPS).astype(np.float32)


def assert_finite(tree):
    for path, leaf in jax.tree.leaves_with_path(tree):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_parameter_has_a_gradient(block):
    logits, moved, gradients = program(block, True)(noise(), FULL)
    assert_finite((logits, moved, gradients))
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.abs(gradient).max() > 1e-5, jax.tree_util.keystr(path)


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_clip_without_motion_makes_no_nan(block, train):
    logits, moved, gradients = program(block, train)(np.zeros_like(noise()), FULL)
    assert_finite((logits, moved, gradients))
    assert gradients["heads"][0]["second"]["bias"].any()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_batch_of_one_clip_makes_no_nan(block):
    only = np.arange(CLIPS[0]) == 2
    logits, moved, gradients = program(block, True)(noise(), only)
    assert_finite((logits[2], moved, gradients))


def test_a_batch_of_one_clip_says_nothing_of_a_cam_but_its_last_biases():
    """Eq. (3.10) normalises 1x1x1 maps: a value alone is its own mean, and becomes the bias."""
    channels = 8
    graph, params, stats = nnx.split(CAM(channels, 4, rngs=nnx.Rngs(0)), nnx.Param, nnx.BatchStat)
    params = nnx.to_pure_dict(params)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), params)
    cotangent = rng.standard_normal(channels).astype(np.float32)

    def loss(params, x):
        weights = nnx.merge(graph, params, nnx.to_pure_dict(stats))(x)
        return jnp.sum(weights * cotangent.reshape(1, 1, 1, 1, -1)), weights

    for seed in range(2):
        x = np.random.default_rng(seed).standard_normal((1, 2, 3, 3, channels)).astype(np.float32)
        (gradients, by_x), weights = jax.grad(loss, (0, 1), has_aux=True)(params, jnp.asarray(x))
        last = [("average", "layers", 1, "norm", "bias")]
        last.append(("maximum", *last[0][1:]))
        biases = [functools.reduce(operator.getitem, path, params) for path in last]
        said = 1 / (1 + np.exp(-np.sum(biases, axis=0)))
        np.testing.assert_allclose(np.ravel(weights), said, rtol=1e-6)
        assert not by_x.any()
        for path, gradient in jax.tree.leaves_with_path(gradients):
            names = tuple(entry.key for entry in path)
            expected = cotangent * said * (1 - said) if names in last else 0.0
            np.testing.assert_allclose(gradient, np.broadcast_to(expected, gradient.shape), 1e-5)
