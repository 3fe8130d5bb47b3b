import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mser_jax import parallel
from mser_jax.models.ops import conv

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


def in_lowering(name, strides):
    return lambda x, kernel: conv.conv3d(x, kernel, strides, name)


@pytest.mark.parametrize("name", ["einsum", "frames"])
@pytest.mark.parametrize("steps", [1, 2, 5])  # fewer than the kernel's, where taps see only padding
@pytest.mark.parametrize(("kernel", "strides", "c_in", "c_out"), SHAPES)
def test_every_lowering_is_xlas_convolution_with_its_gradients(
    kernel, strides, c_in, c_out, steps, name
):
    x, weights = drawn((2, steps, 8, 9, c_in), (*kernel, c_in, c_out))
    agree(in_lowering(name, strides), lambda x, w: reference(x, w, strides), x, weights)


def test_the_lowering_xla_is_the_compilers_own():
    x, weights = drawn((2, 5, 8, 9, 3), (3, 3, 3, 3, 4))
    agree(in_lowering("xla", (1, 2, 2)), lambda x, w: reference(x, w, (1, 2, 2)), x, weights)
    assert "conv_general_dilated" in str(jax.make_jaxpr(in_lowering("xla", (1, 1, 1)))(x, weights))
    for name in ("einsum", "frames"):
        program = str(jax.make_jaxpr(in_lowering(name, (1, 1, 1)))(x, weights))
        assert "conv_general_dilated" not in program
        assert ("scan" in program) == (name == "frames")


@pytest.mark.parametrize("name", conv.LOWERINGS)
def test_a_kernel_of_even_size_is_refused(name):
    x, weights = drawn((1, 4, 6, 6, 2), (3, 2, 3, 2, 4))
    with pytest.raises(ValueError, match=r"must be odd; these are \(3, 2, 3\)"):
        in_lowering(name, (1, 1, 1))(x, weights)


def test_time_taps_are_added_where_that_is_narrower():
    """Among the products of a wide input, among the patches of a narrow one."""

    def widest(c_in, c_out):
        x, weights = drawn((2, 5, 8, 9, c_in), (3, 3, 3, c_in, c_out))
        program = jax.make_jaxpr(in_lowering("einsum", (1, 1, 1)))(x, weights)
        return max(v.aval.shape[-1] for eqn in program.eqns for v in eqn.outvars)

    assert widest(8, 8) == 9 * 8  # patches of height and width, then 3 * 8 products
    assert widest(2, 16) == 27 * 2


@pytest.mark.parametrize(
    ("platform", "positions", "patches", "name"),
    [
        ("cpu", 34 * 34, 2**24, "frames"),
        ("cpu", 34 * 34, 2**20, "einsum"),  # all of it stays in the cache
        ("cpu", 5 * 5, 2**24, "einsum"),  # a frame is too little for a product of its own
        ("gpu", 34 * 34, 2**24, "xla"),
        ("tpu", 34 * 34, 2**24, "xla"),
    ],
)
def test_what_auto_takes(platform, positions, patches, name):
    assert conv.choose_lowering(platform, positions, patches) == name


def test_auto_looks_at_the_shapes_and_a_call_can_ask_for_another():
    x, weights = drawn((4, 8, 34, 34, 16), (3, 3, 3, 16, 4))
    wanted = conv.choose_lowering(jax.default_backend(), 34 * 34, 4 * 4 * 8 * 34 * 34 * 9 * 16)
    assert conv.auto_lowering(x, weights, (1, 1, 1)) == wanted

    def program(name):
        return str(jax.make_jaxpr(in_lowering(name, (1, 1, 1)))(x, weights))

    programs = {name: program(name) for name in conv.LOWERINGS}
    assert len(set(programs.values())) == len(conv.LOWERINGS)
    assert program("auto") == programs[wanted]
    if jax.default_backend() == "cpu":
        assert wanted == "frames"
        assert conv.auto_lowering(x[:, :, ::8, ::8], weights, (1, 1, 1)) == "einsum"
        assert conv.auto_lowering(x, weights[:, :1, :1], (1, 1, 1)) == "einsum"  # no patches at all


@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 7, 1), (1, 1, 3)])
def test_depthwise_is_a_convolution_of_as_many_groups_as_channels(kernel):
    x, weights = drawn((2, 4, 6, 5, 3), (*kernel, 3))
    agree(
        conv.depthwise_conv3d,
        lambda x, w: reference(x, jnp.expand_dims(w, 3), groups=3),
        x,
        weights,
    )


def in_every_lowering(function):
    """`function` as it is, and in the lowering 'xla'."""
    return function, lambda *operands: function(*operands, lowering="xla")


@pytest.mark.parametrize("function", in_every_lowering(conv.conv_transpose3d))
def test_conv_transpose3d_lays_the_kernel_at_every_place(function):
    def wanted(x, kernel):
        laid = jnp.einsum("bthwi,pqrio->btphqwro", x, kernel, precision="highest")
        return laid.reshape(2, 2, 6, 8, 3)

    agree(function, wanted, *drawn((2, 1, 3, 4, 5), (2, 2, 2, 5, 3)))


@pytest.mark.parametrize("function", in_every_lowering(conv.max_pool3d))
@pytest.mark.parametrize("size", [(2, 7, 8), (1, 5, 3)])
def test_max_pool3d_is_the_maximum_of_each_window_with_its_gradient(size, function):
    """Of every window written out; the gradient goes where the maximum is."""

    def wanted(x):
        padded = jnp.pad(x, ((0, 0), *3 * ((1, 1),), (0, 0)), constant_values=-jnp.inf)
        outputs = [(n - 1) // 2 + 1 for n in size]
        windows = [
            padded[:, 2 * t : 2 * t + 3, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3].max((1, 2, 3))
            for t, h, w in np.ndindex(*outputs)
        ]
        return jnp.stack(windows, axis=1).reshape(2, *outputs, 3)

    (x,) = drawn((2, *size, 3))
    assert len(np.unique(x)) == x.size  # no ties: there the gradients may differ
    agree(function, wanted, x)


@pytest.mark.parametrize("function", in_every_lowering(conv.max_pool3d))
def test_equal_values_receive_a_gradient_once(function):
    by_x = jax.grad(lambda x: jnp.sum(function(x)))(jnp.ones((2, 3, 5, 5, 1)))
    np.testing.assert_allclose(by_x.sum((1, 2, 3, 4)), 2 * 3 * 3)  # one for each output


def layers(x, weights, name):
    """Every primitive of the module, one after the other."""
    cube, narrow, deep, up = weights
    x = conv.max_pool3d(conv.conv3d(x, cube, (1, 2, 2), name), name)
    x = conv.depthwise_conv3d(conv.conv3d(x, narrow, lowering=name), deep)
    return conv.conv_transpose3d(x, up, name)


def stacked(folds):
    return drawn(
        (folds, 2, 4, 9, 8, 2),
        (folds, 3, 3, 3, 2, 4),
        (folds, 3, 1, 1, 4, 2),
        (folds, 1, 3, 1, 2),
        (folds, 2, 2, 2, 2, 3),
    )


def gradients(x, weights, name):
    return jax.grad(lambda x, w: jnp.sum(layers(x, w, name) ** 2), (0, 1))(x, weights)


@pytest.mark.parametrize("name", conv.LOWERINGS)
def test_lifted_over_folds_each_fold_is_as_alone(name):
    x, *weights = stacked(4)

    def of_fold(x, weights):
        return gradients(x, weights, name)

    mesh = parallel.fold_mesh()
    lifts = [parallel.over_folds(of_fold, mesh, lift, num_fold_args=2) for lift in ("vmap", "map")]
    lifted = [jax.tree.leaves(lift(*parallel.shard((x, weights), mesh))) for lift in lifts]
    alone = jax.jit(of_fold)
    for fold in range(4):
        wanted = jax.tree.leaves(alone(x[fold], [w[fold] for w in weights]))
        for leaves in lifted:
            for leaf, expected in zip(leaves, wanted, strict=True):
                scale = float(jnp.abs(expected).max())
                np.testing.assert_allclose(leaf[fold], expected, atol=1e-5 * scale, rtol=0)


def test_no_convolution_is_grouped_under_vmap_but_xlas():
    x, *weights = stacked(3)
    for name in conv.LOWERINGS:

        def of_fold(x, kernel, name=name):
            return conv.conv3d(x, kernel, lowering=name)

        program = jax.jit(jax.vmap(of_fold)).lower(x, weights[0]).compile().as_text()
        for word in ("feature_group_count", "convolution("):
            assert (word in str(program)) == (name == "xla")
