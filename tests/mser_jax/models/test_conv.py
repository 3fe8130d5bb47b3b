import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mser_jax.models import conv

pytestmark = pytest.mark.usefixtures("unoptimised")

LAYOUT = ("NDHWC", "DHWIO", "NDHWC")
PADDINGS = {1: (0, 0), 3: (1, 1), 7: (3, 3)}

# kernel, strides, channels in and out: each shape of the network, wide and narrow where it has both
SHAPES = [
    ((3, 7, 7), (1, 2, 2), 3, 8),  # stem
    ((1, 1, 1), (1, 1, 1), 3, 8),
    ((1, 1, 1), (2, 2, 2), 4, 8),  # shortcut
    ((3, 3, 3), (1, 1, 1), 2, 8),  # restores the channels of an RC branch
    ((3, 3, 3), (2, 2, 2), 3, 3),
    ((1, 1, 7), (1, 1, 1), 2, 2),
    ((1, 7, 1), (1, 1, 1), 2, 2),
    ((7, 1, 1), (1, 1, 1), 2, 8),
    ((1, 1, 3), (1, 1, 1), 2, 8),
    ((1, 3, 1), (1, 1, 1), 2, 8),
    ((3, 1, 1), (1, 1, 1), 6, 2),
    ((3, 1, 1), (1, 1, 1), 2, 1),  # temporal attention
    ((1, 7, 7), (1, 1, 1), 2, 1),  # spatial attention
]


def drawn(*shapes):
    rng = np.random.default_rng(math.prod(map(math.prod, shapes)))
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def reference(x, kernel, strides=(1, 1, 1), groups=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [PADDINGS[size] for size in kernel.shape[:3]],
        dimension_numbers=LAYOUT,
        feature_group_count=groups,
        precision="highest",
    )


def agree(function, wanted, *operands):
    """Outputs and the gradients by every operand, for a random cotangent."""

    def both(operands):
        outputs, back = jax.vjp(function, *operands)
        wanted_outputs, wanted_back = jax.vjp(wanted, *operands)
        assert outputs.shape == wanted_outputs.shape
        cotangent = jax.random.normal(jax.random.key(0), outputs.shape)
        return (outputs, *back(cotangent)), (wanted_outputs, *wanted_back(cotangent))

    for value, expected in zip(*jax.jit(both)(operands), strict=True):
        scale = float(jnp.abs(expected).max())
        assert scale > 0
        np.testing.assert_allclose(value, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize(("kernel", "strides", "c_in", "c_out"), SHAPES)
def test_conv3d_is_xlas_convolution_with_its_gradients(kernel, strides, c_in, c_out):
    x, weights = drawn((2, 5, 8, 9, c_in), (*kernel, c_in, c_out))
    agree(
        lambda x, w: conv.conv3d(x, w, strides), lambda x, w: reference(x, w, strides), x, weights
    )


def test_both_ways_of_adding_time_taps_are_taken(monkeypatch):
    taken = set()
    for name in ("_time_taps_before", "_time_taps_after"):
        original = getattr(conv, name)

        def noted(*arguments, name=name, original=original):
            taken.add((name, arguments[1].shape[0] > 1))
            return original(*arguments)

        monkeypatch.setattr(conv, name, noted)
    for kernel, strides, c_in, c_out in SHAPES:
        x, weights = drawn((2, 5, 8, 9, c_in), (*kernel, c_in, c_out))
        jax.eval_shape(lambda x, w, s=strides: conv.conv3d(x, w, s), x, weights)
    assert {("_time_taps_before", True), ("_time_taps_after", True)} <= taken


@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 7, 1), (1, 1, 3)])
def test_depthwise_is_a_convolution_of_as_many_groups_as_channels(kernel):
    x, weights = drawn((2, 4, 6, 5, 3), (*kernel, 3))
    agree(
        conv.depthwise_conv3d,
        lambda x, w: reference(x, jnp.expand_dims(w, 3), groups=3),
        x,
        weights,
    )


def test_conv_transpose3d_is_xlas():
    def wanted(x, kernel):
        mirrored = kernel[::-1, ::-1, ::-1]  # XLA's, unlike PyTorch's, lays the kernel mirrored
        return jax.lax.conv_transpose(
            x, mirrored, (2, 2, 2), "VALID", dimension_numbers=LAYOUT, precision="highest"
        )

    agree(conv.conv_transpose3d, wanted, *drawn((2, 1, 3, 4, 5), (2, 2, 2, 5, 3)))


@pytest.mark.parametrize("size", [(2, 7, 8), (1, 5, 3)])
def test_max_pool3d_is_a_window_maximum_with_its_gradient(size):
    def wanted(x):
        padding = ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0))
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 3, 3, 3, 1), (1, 2, 2, 2, 1), padding
        )

    (x,) = drawn((2, *size, 3))
    assert len(np.unique(x)) == x.size  # no ties: there the gradients may differ
    agree(conv.max_pool3d, wanted, x)


def layers(x, weights):
    """Every primitive of the module, one after the other."""
    cube, narrow, deep, up = weights
    x = conv.max_pool3d(conv.conv3d(x, cube, (1, 2, 2)))
    x = conv.depthwise_conv3d(conv.conv3d(x, narrow), deep)
    return conv.conv_transpose3d(x, up)


def stacked(folds):
    return drawn(
        (folds, 2, 4, 9, 8, 2),
        (folds, 3, 3, 3, 2, 4),
        (folds, 3, 1, 1, 4, 2),
        (folds, 1, 3, 1, 2),
        (folds, 2, 2, 2, 2, 3),
    )


def gradients(x, weights):
    return jax.grad(lambda x, w: jnp.sum(layers(x, w) ** 2), (0, 1))(x, weights)


def test_lifted_over_folds_each_fold_is_as_alone_and_no_convolution_is_grouped():
    x, *weights = stacked(3)
    by_vmap = jax.jit(jax.vmap(gradients)).lower(x, weights).compile()
    by_map = jax.jit(lambda *operands: jax.lax.map(lambda one: gradients(*one), operands))
    alone = jax.jit(gradients)
    lifted = [jax.tree.leaves(lift(x, weights)) for lift in (by_vmap, by_map)]
    for fold in range(3):
        wanted = jax.tree.leaves(alone(x[fold], [w[fold] for w in weights]))
        for leaves in lifted:
            for leaf, expected in zip(leaves, wanted, strict=True):
                scale = float(jnp.abs(expected).max())
                np.testing.assert_allclose(leaf[fold], expected, atol=1e-5 * scale, rtol=0)
    grouped = jax.jit(jax.vmap(reference)).lower(x, weights[0]).compile()
    for word in ("feature_group_count", "convolution("):
        assert word in str(grouped.as_text())
        assert word not in str(by_vmap.as_text())
