"""RCN-A, CapsuleNet and the paper's network cut to one time step: parts written out, and counts."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers.parameter_counts import cam, conv_bn, head
from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings, cost, functional
from mser_jax.models.baselines import capsulenet, rcn
from mser_jax.models.baselines.capsulenet import CapsuleNet
from mser_jax.models.baselines.rcn import RCN
from mser_jax.models.layers import Conv
from mser_jax.models.msres3d import msres2d
from mser_jax.models.multiscale import RC1, RC2, RC3
from mser_jax.models.network import count_parameters

pytestmark = pytest.mark.usefixtures("unoptimised")

MASK = jnp.array([True, False, True, True, True])
SIDE = 20
TOYS = {
    "RCN": functional(lambda rngs: RCN(3, side=SIDE, maps=4, rngs=rngs)),
    "CapsuleNet": functional(lambda rngs: CapsuleNet(3, side=SIDE, width=2, rngs=rngs)),
}
FLAT = MSRes3DSettings(
    classes=3,
    block="basic",
    width=4,
    depths=(1, 1, 1, 1),
    rc=None,
    hidden=4,
    temporal=False,
)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def near(one, other, tolerance=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=tolerance), one, other
    )


def counts(make):
    """The parameters of each part of a module."""
    module = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    return {
        name: count_parameters(nnx.state(part, nnx.Param))
        for name, part in vars(module).items()
        if isinstance(part, nnx.Module) and not isinstance(part, nnx.Dropout)
    }


def weights(network):
    """Parameters and statistics, a value of its own for each, and no program to draw them."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        normal = rng.standard_normal(shape.shape)
        values = {
            "kernel": normal * math.prod(shape.shape[:-1]) ** -0.5,
            "scale": np.exp(normal / 4),
            "var": np.exp(normal / 4),
        }
        return jnp.asarray(values.get(path[-1].key, normal / 4), jnp.float32)

    return jax.tree.map_with_path(leaf, jax.eval_shape(network.init, jax.random.key(0)))


# What is the same of both networks of the field.


@pytest.fixture(scope="module", params=TOYS)
def toy(request):
    """Of a batch: logits and statistics, then the gradients, in training and without dropout."""
    network = TOYS[request.param]
    params, stats = weights(network)

    def loss(params, x):
        logits, moved = network.apply(params, stats, x, MASK, True)
        there = jnp.where(MASK[:, None, None], logits, 0)
        return jnp.sum(there * drawn(5, 1, 3, seed=1)), (logits, moved)

    step = jax.jit(jax.grad(loss, has_aux=True))
    return lambda x: step(params, x)[::-1]


def test_the_gradient_is_finite_and_reaches_every_parameter(toy):
    x = drawn(5, 1, SIDE, SIDE, 3)
    x[~MASK] = 0  # as the feed fills empty slots
    (logits, _), gradients = toy(x)
    assert logits.shape == (5, 1, 3)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.all(np.isfinite(gradient)), path
        assert np.any(gradient != 0), path


def test_a_masked_clip_touches_nothing(toy):
    x = drawn(5, 1, SIDE, SIDE, 3)
    (logits, moved), gradients = toy(x)
    x[~MASK] = drawn(1, 1, SIDE, SIDE, 3, seed=2)
    (others, as_moved), as_gradients = toy(x)
    assert not np.array_equal(logits[~MASK], others[~MASK])
    np.testing.assert_array_equal(logits[MASK], others[MASK])
    jax.tree.map(np.testing.assert_array_equal, moved, as_moved)
    near(gradients, as_gradients)


def test_an_unpadded_convolution_is_that_of_jax():
    layer = Conv(3, 4, (1, 3, 3), (1, 2, 2), padded=False, rngs=nnx.Rngs(0))
    x, layout = jnp.asarray(drawn(2, 1, 7, 8, 3)), ("NDHWC", "DHWIO", "NDHWC")
    wanted = jax.lax.conv_general_dilated(
        x, layer.kernel[...], layer.strides, "VALID", dimension_numbers=layout
    )
    assert wanted.shape == (2, 1, 3, 3, 4)
    near(jax.jit(lambda x: layer(x))(x), wanted)


# RCN-A.


def test_parameters_of_rcn():
    assert counts(lambda rngs: RCN(3, rngs=rngs)) == {
        "conv": conv_bn(25, 3, 32),
        "rcl": conv_bn(1, 32, 32) + conv_bn(9, 32, 32),
        "fc": 25 * 32 * 3 + 3,
    }


def test_multiply_adds_of_rcn():
    padded, pooled = 28 * 28, 12 * 12  # the 5x5 convolution is made with padding and cropped
    by_hand = padded * 25 * 3 * 32 + pooled * (1 + 2 * 9) * 32 * 32 + 25 * 32 * 3
    extra = 2 * 25 * 32 * 3 + 5 * 32 * (12 * 12 + 12 * 5 + 6 * 6 + 6 * 5)  # attention, cells
    assert (
        by_hand
        <= cost.multiply_adds(lambda rngs: RCN(3, rngs=rngs), (1, 28, 28, 3))
        < by_hand + extra
    )


@pytest.mark.parametrize("side", [3, 5, 6, 12])
def test_cells_are_means_of_their_pixels(side):
    x = drawn(2, 1, side, side + 1, 3)
    wanted = np.zeros((2, 1, 5, 5, 3))
    for i in range(5):
        rows = range(math.floor(i * side / 5), math.ceil((i + 1) * side / 5))
        for j in range(5):
            columns = range(math.floor(j * (side + 1) / 5), math.ceil((j + 1) * (side + 1) / 5))
            wanted[:, :, i, j] = x[:, :, rows][:, :, :, columns].mean(axis=(2, 3))
    near(rcn.adaptive_average_pool(jnp.asarray(x), 5), wanted)


def test_attention_is_the_evidence_for_each_class_between_its_least_and_its_most():
    x, kernel = drawn(2, 1, 5, 5, 4), drawn(5 * 5 * 4, 3, seed=1)
    wanted = np.zeros((2, 1, 5, 5, 1))
    for clip in range(2):
        for number in range(3):
            evidence = (x[clip, 0] * kernel[:, number].reshape(5, 5, 4)).mean(axis=-1)
            between = (evidence - evidence.min()) / (evidence.max() - evidence.min())
            wanted[clip, 0, :, :, 0] += between / 3
    near(rcn.attention(jnp.asarray(x), jnp.asarray(kernel)), wanted)


def test_a_flat_map_of_evidence_has_no_attention_and_a_finite_gradient():
    def total(x):
        return jnp.sum(rcn.attention(x, jnp.ones((5 * 5 * 4, 3))))

    value, gradient = jax.jit(jax.value_and_grad(total))(jnp.ones((1, 1, 5, 5, 4)))
    assert value == 0
    assert np.all(np.isfinite(gradient))


def test_dropout_of_rcn_needs_a_key():
    network, x = TOYS["RCN"], jnp.asarray(drawn(5, 1, SIDE, SIDE, 3))
    params, stats = weights(network)
    apply = jax.jit(lambda key: network.apply(params, stats, x, None, True, key)[0])
    kept, one, other = apply(None), *map(apply, jax.random.split(jax.random.key(1)))
    assert np.all(one != kept)
    assert np.all(one != other)


# CapsuleNet.


def test_parameters_of_capsulenet():
    def units(c, width):
        shortcut = conv_bn(1, c, width) if c != width else 0
        return conv_bn(9, c, width) + 3 * conv_bn(9, width, width) + shortcut

    assert counts(lambda rngs: CapsuleNet(3, rngs=rngs)) == {
        "stem": conv_bn(49, 3, 64),
        "stages": units(64, 64) + units(64, 128) + units(128, 256),
        "conv": 9 * 256 * 256 + 256,
        "primary": 9 * 256 * 256 + 256,
        "classes": 2 * 2 * 32 * 8 * 3 * 16,
    }


@pytest.mark.parametrize("side", [17, 27, 28, 29])
def test_there_is_a_matrix_for_each_capsule_of_any_image(side):
    given = jax.ShapeDtypeStruct((2, 1, side, side, 3), jnp.float32)
    made = jax.eval_shape(lambda x: CapsuleNet(4, side=side, width=2, rngs=nnx.Rngs(0))(x), given)
    assert made.shape == (2, 1, 4)


def squashed(s):
    length = np.sqrt(np.sum(s**2))
    return length**2 / (1 + length**2) * s / length


def test_routing_is_that_of_sabour():
    votes = drawn(2, 6, 3, 4)  # clips, primary capsules, classes, the length of a vector
    wanted = np.zeros((2, 3, 4))
    for clip in range(2):
        agreement = np.zeros((6, 3))
        for _ in range(3):
            for number in range(3):
                coupling = np.exp(agreement) / np.exp(agreement).sum(axis=1, keepdims=True)
                total = sum(coupling[i, number] * votes[clip, i, number] for i in range(6))
                wanted[clip, number] = squashed(total)
            agreement = agreement + np.einsum("ind,nd->in", votes[clip], wanted[clip])
    near(capsulenet.route(jnp.asarray(votes)), wanted)


def test_the_gradient_of_the_routing_is_that_of_its_last_turn():
    votes = jnp.asarray(drawn(1, 6, 3, 4))

    def square(votes):
        return jnp.sum(capsulenet.route(votes) ** 2)

    def of_the_last_turn(votes):
        agreement, fixed = jnp.zeros((1, 6, 3)), jax.lax.stop_gradient(votes)
        for _ in range(2):
            agreement += jnp.einsum("bind,bnd->bin", fixed, last_turn(fixed, agreement))
        return jnp.sum(last_turn(votes, agreement) ** 2)

    near(*(jax.jit(jax.grad(f))(votes) for f in (square, of_the_last_turn)))


def last_turn(votes, agreement):
    total = jnp.einsum("bin,bind->bnd", jax.nn.softmax(agreement, axis=-1), votes)
    length = jnp.linalg.norm(total, axis=-1, keepdims=True)
    return length / (1 + length**2) * total


@pytest.mark.parametrize("scale", [0, 1e-6, 1, 1e3])
def test_capsules_are_shorter_than_one(scale):
    x = scale * jnp.asarray(drawn(3, 5, 8))

    def of(x):
        return capsulenet.lengths(capsulenet.squash(x))

    lengths, gradient = jax.jit(lambda x: (of(x), jax.grad(lambda x: jnp.sum(of(x)))(x)))(x)
    assert np.all((lengths >= 0) & (lengths < 1))
    square = np.sum(np.asarray(x) ** 2, axis=-1)
    near(lengths, square / (1 + square))
    assert np.all(np.isfinite(gradient))


# The paper's network cut to one time step.


def cut(path, weight):
    """The one tap over time that sees the step; an upsampling is cropped to its first."""
    names = [key.key for key in path]
    if names[-1] != "kernel" or weight.ndim < 4:
        return weight
    tap = 0 if names[0] == "up" else len(weight) // 2
    return weight[tap : tap + 1]


def test_the_network_cut_to_one_step_is_the_3d_one_on_one_step():
    x = jnp.asarray(drawn(4, 1, 28, 28, 3))
    whole, flat = (
        functional(lambda rngs, s=s: MSRes3D(s, rngs=rngs))
        for s in (dataclasses.replace(FLAT, temporal=True), FLAT)
    )
    params, stats = weights(whole)
    middle = jax.tree.map_with_path(cut, params)
    shapes = jax.eval_shape(flat.init, jax.random.key(0))[0]
    assert jax.tree.map(jnp.shape, middle) == jax.tree.map(jnp.shape, shapes)
    logits, same = (
        jax.jit(lambda p, run=run: run(p, stats, x, None, False)[0])(p)
        for run, p in ((whole.apply, params), (flat.apply, middle))
    )
    assert same.shape == (4, 4, 3)
    near(same, logits, 1e-4)


def both(rc, style):
    """What makes a module, with and without an extent over time."""
    return [lambda t=t: rc(8, style, temporal=t, rngs=nnx.Rngs(0)) for t in (True, False)]


@pytest.mark.parametrize("chain", ["factorised", "depthwise"])
@pytest.mark.parametrize("rc", [RC1, RC2, RC3])
def test_a_module_cut_to_one_step_keeps_its_layers(rc, chain):
    whole, flat = (
        nnx.to_pure_dict(nnx.state(nnx.eval_shape(make)))
        for make in both(rc, BranchStyle(chain=chain, restore="pointwise"))
    )

    def as_cut(path, weight):
        return (1, *weight.shape[1:]) if path[-1].key == "kernel" else weight.shape

    assert jax.tree.map_with_path(as_cut, whole) == jax.tree.map(jnp.shape, flat)


def test_rc3_cut_to_one_step_is_the_3d_one_on_one_step():
    whole, flat = (make() for make in both(RC3, BranchStyle()))
    nnx.update(flat, jax.tree.map_with_path(cut, nnx.to_pure_dict(nnx.state(whole))))
    x = jnp.asarray(drawn(4, 1, 5, 6, 8))
    graphs = [nnx.split(module) for module in (flat, whole)]
    near(*(jax.jit(lambda s, x, g=g: nnx.merge(g, s)(x))(state, x) for g, state in graphs))


def bottleneck(c, width):
    return conv_bn(1, c, width) + conv_bn(9, width, width) + conv_bn(1, width, 4 * width)


def test_parameters_of_msres2d():
    total, c = conv_bn(49, 3, 64) + (2 + 1) + (49 * 2 + 1), 64
    for width, depth in ((64, 3), (128, 4), (256, 6), (512, 3)):
        total += conv_bn(1, c, 4 * width)
        for _ in range(depth):
            total += bottleneck(c, width)
            c = 4 * width
    for c, m in ((256, 64), (512, 128), (1024, 256)):  # the point branch, and two that begin so
        total += conv_bn(1, c, c) + 2 * conv_bn(1, c, m)
    total += conv_bn(9, 64, 64) + 2 * conv_bn(9, 64, 256) + 4
    total += 6 * conv_bn(7, 128, 128) + conv_bn(1, 128, 128) + 2 * conv_bn(1, 128, 512) + 4
    total += 2 * conv_bn(3, 256, 256) + conv_bn(1, 256, 256)
    total += 4 * conv_bn(3, 256, 1024) + 2 * conv_bn(1, 256, 1024) + 8
    for deep, c in ((2048, 1024), (1024, 512), (512, 256)):
        total += 4 * deep * c + 2 * c + 2 * cam(c) + head(c)
    total += head(2048)
    model = nnx.eval_shape(lambda: msres2d(3, rngs=nnx.Rngs(0)))
    assert total == count_parameters(nnx.state(model, nnx.Param))


def test_multiply_adds_of_msres2d():
    places = {"X2": 7 * 7, "X3": 4 * 4, "X4": 2 * 2, "X5": 1}

    def block(before, after, c, width, depth):
        tail = after * (9 * width**2 + width * 4 * width)
        first = before * c * width + tail + after * c * 4 * width
        return first + (depth - 1) * (after * 4 * width * width + tail)

    x2, x3, x4, x5 = places.values()
    made = cost.parts(cost.calls(MSRes3DSettings(classes=3, temporal=False), (1, 28, 28, 3)))
    macs = {part.name: part.macs for part in made}
    wanted = {
        "block 1": 14 * 14 * 49 * 3 * 64,
        "attention": 2 + 14 * 14 * 49 * 2,
        "block 2": block(x2, x2, 64, 64, 3),
        "block 3": block(x2, x3, 256, 128, 4),
        "block 4": block(x3, x4, 512, 256, 6),
        "block 5": block(x4, x5, 1024, 512, 3),
        "RC1": x2 * (256 * 256 + 2 * 256 * 64 + 9 * 64 * 64 + 2 * 9 * 64 * 256),
        "RC2": x3 * (512 * 512 + 2 * 512 * 128 + (6 * 7 + 1) * 128**2 + 2 * 128 * 512),
        "RC3": x4 * (1024**2 + 2 * 1024 * 256 + 7 * 256 * 256 + 2 * 7 * 256 * 1024),
        "up to X4": x5 * 4 * 2048 * 1024,
        "up to X3": x4 * 4 * 1024 * 512,
        "up to X2": x3 * 4 * 512 * 256,
    }
    assert {name: macs[name] for name in wanted} == wanted
