from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers import written_out
from helpers.written_out import jumbled
from mser_jax.models import layers
from mser_jax.models.affa import AFFA, CAM
from mser_jax.models.attention import TemporalSpatialAttention

pytestmark = pytest.mark.usefixtures("unoptimised")


def drawn(*shape, seed=0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def jumbled_norm(channels=3):
    return jumbled(layers.BatchNorm(channels))


def near(value, expected):
    np.testing.assert_allclose(value, expected, rtol=2e-4, atol=2e-5)


def test_batch_norm_written_out_and_its_running_statistics():
    norm, x = jumbled_norm(), 3 + 2 * drawn(4, 2, 3, 3, 3)
    near(norm(x), written_out.batch_norm(x, norm))
    axes = (0, 1, 2, 3)
    near(norm.mean[...], 0.1 * x.mean(axes))  # moved from 0 by 1 - MOMENTUM
    near(norm.var[...], 0.9 + 0.1 * x.var(axes))


@pytest.mark.parametrize("filling", [0.0, 1e6, np.nan])
def test_masked_statistics_are_those_of_the_clips_alone(filling):
    x, mask = drawn(5, 2, 3, 3, 3), np.array([True, False, True, True, False])
    x[~mask] = filling
    masked, alone = jumbled_norm(), jumbled_norm()
    outputs, wanted = masked(x, jnp.asarray(mask)), alone(x[mask])
    near(outputs[mask], wanted)
    near(masked.mean[...], alone.mean[...])
    near(masked.var[...], alone.var[...])


def test_running_statistics_move_in_training_and_are_used_in_evaluation():
    norm, x = jumbled_norm(), 3 + drawn(4, 2, 3, 3, 3)
    for _ in range(2):
        before = np.asarray(norm.mean[...])
        norm(x)
        assert np.all(norm.mean[...] != before)
    evaluated = nnx.view(norm, use_running_average=True)
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(evaluated, nnx.BatchStat)))
    one = evaluated(x[:1])
    near(one, evaluated(x)[:1])  # a clip's output does not depend on its company
    mean, var, scale, bias = map(np.asarray, (norm.mean, norm.var, norm.scale, norm.bias))
    near(one, (x[:1] - mean) / np.sqrt(var + written_out.EPSILON) * scale + bias)
    after = nnx.to_pure_dict(nnx.state(evaluated, nnx.BatchStat))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_chain_applies_its_layers_in_order_with_the_mask():
    rngs = nnx.Rngs(0)
    chain = layers.Chain(
        [
            layers.ConvBN(2, 3, (1, 3, 3), rngs=rngs),
            layers.ConvBN(3, 3, (3, 1, 1), depthwise=True, rngs=rngs),
            layers.ConvBN(3, 4, layers.POINT, relu=False, rngs=rngs),
        ]
    )
    jumbled(chain)
    x, mask = drawn(3, 3, 4, 4, 2), np.array([True, True, False])
    x[~mask] = np.nan
    outputs = chain(x, jnp.asarray(mask))[mask]
    near(outputs, written_out.chain(x[mask], chain))
    assert outputs.min() < 0  # the last has no ReLU


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda rngs: layers.Conv(40, 60, (3, 1, 1), rngs=rngs), 120),
        (lambda rngs: layers.DepthwiseConv(400, (3, 3, 3), rngs=rngs), 27),
        (lambda rngs: layers.Dense(100, 80, rngs=rngs), 100),
    ],
)
def test_weights_are_drawn_with_the_deviation_of_he(make, fan_in):
    kernel = make(nnx.Rngs(0)).kernel
    assert np.std(kernel[...]) == pytest.approx((2 / fan_in) ** 0.5, rel=0.04)
    assert abs(np.mean(kernel[...])) < 0.04 * np.std(kernel[...])
    assert kernel.get_metadata("deviation") == pytest.approx((2 / fan_in) ** 0.5)


def test_gradient_of_the_maximum_is_finite_when_its_operand_is_computed_twice():
    """Without optimisation, the compiler rounds this y in two ways; `jnp.max` then gives inf."""

    def loss(weight, x, maximum):
        y = jax.nn.relu((x - x.mean((0, 1, 2, 3), keepdims=True)) * 1.7 + 0.3)
        said = weight * y.mean((2, 3, 4), keepdims=True) + y.max((2, 3, 4), keepdims=True)
        y = y * jax.nn.sigmoid(said)
        return jnp.sum((y * jax.nn.sigmoid(3 * maximum(y, (1, 4)))) ** 2)

    def plain(x, axes):
        return jnp.max(x, axis=axes, keepdims=True)

    weight, x = jnp.float32(0.7), jnp.asarray(drawn(3, 4, 5, 6, 2))
    step_by_step = jax.grad(loss)(weight, x, plain)
    compiled = jax.jit(jax.grad(loss), static_argnums=2)
    near(compiled(weight, x, layers.maximum), step_by_step)


def test_maximum_is_that_of_numpy_and_its_gradient_goes_to_one_place():
    x = drawn(3, 4, 5, 6, 2)
    np.testing.assert_array_equal(layers.maximum(x, (1, 4)), x.max((1, 4), keepdims=True))
    gradient = jax.grad(lambda x: jnp.sum(layers.maximum(x, (1, 2, 3))))
    np.testing.assert_array_equal(gradient(x), x == x.max((1, 2, 3), keepdims=True))
    tied = gradient(jnp.ones((2, 2, 2, 2, 3)))
    np.testing.assert_array_equal(tied.sum((1, 2, 3)), np.ones((2, 3)))
    assert np.count_nonzero(tied) == 6


def test_attention_written_out():
    module, x = jumbled(TemporalSpatialAttention(rngs=nnx.Rngs(0))), drawn(2, 4, 8, 9, 3)

    def said(x, axes, kernel):
        means = np.stack([x.mean(axes), x.max(axes)], axis=-1)
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape[:4])] + [2]
        weights = written_out.conv(means.reshape(shape), kernel.kernel[...], kernel.bias[...])
        return written_out.sigmoid(weights)

    by_time = x * said(x, (2, 3, 4), module.time)
    assert module.time.kernel.shape == (3, 1, 1, 2, 1)
    assert module.space.kernel.shape == (1, 7, 7, 2, 1)
    near(module(x), by_time * said(by_time, (1, 4), module.space))


def cam_written_out(module, x):
    """Eq. (3.10)."""
    axes = (1, 2, 3)
    average = written_out.chain(x.mean(axes, keepdims=True), module.average)
    maximum = written_out.chain(x.max(axes, keepdims=True), module.maximum)
    return written_out.sigmoid(average + maximum)


def test_cam_written_out():
    module, x = jumbled(CAM(8, 4, rngs=nnx.Rngs(0))), drawn(4, 2, 3, 3, 8)
    assert module.average.layers[0].conv.kernel.shape == (1, 1, 1, 8, 2)
    near(module(x), cam_written_out(module, x))


def test_affa_written_out():
    module = jumbled(AFFA(4, 2, rngs=nnx.Rngs(0)))
    x, y = drawn(4, 2, 3, 3, 4, seed=1), drawn(4, 2, 3, 3, 4, seed=2)
    first = cam_written_out(module.first, x + y)
    z = first * x + (1 - first) * y  # eq. (3.11)
    second = cam_written_out(module.second, z)
    near(module(x, y), second * x + (1 - second) * y)
    narrow = jumbled(CAM(4, 99, rngs=nnx.Rngs(0)))
    assert narrow.average.layers[0].conv.kernel.shape[-1] == 1
