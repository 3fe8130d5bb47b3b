"""OFF-ApexNet, Dual-Inception and HTNet: counts by hand, and what reaches what."""

import math
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mser_jax.models import functional
from mser_jax.models.baselines import htnet, off_apexnet
from mser_jax.models.baselines.dual_inception import DualInception
from mser_jax.models.baselines.htnet import HTNet, HTNetSettings
from mser_jax.models.baselines.off_apexnet import OFFApexNet
from mser_jax.models.ops.pool import max_pool2d

pytestmark = pytest.mark.usefixtures("unoptimised")

# Blocks of four tokens on both levels.
TOY = HTNetSettings(channels=2, patch=2, width=6, heads=2, repeats=(1, 2), expansion=2)


def small(name):
    """A network for 8 x 8 images of two channels."""
    make = {"OFF-ApexNet": OFFApexNet, "Dual-Inception": DualInception}.get(name)
    if make is None:
        return lambda rngs: HTNet(3, side=8, settings=TOY, rngs=rngs)
    return lambda rngs: make(3, side=8, rngs=rngs)


NAMES = ("OFF-ApexNet", "Dual-Inception", "HTNet")


@cache
def started(name):
    network = functional(small(name))
    return network, *jax.jit(network.init)(jax.random.key(0))


@cache
def forward(name):
    """Logits of five clips."""
    network, params, stats = started(name)
    return jax.jit(lambda x, key=None: network.apply(params, stats, x, MASK, True, key)[0])


@cache
def module(name) -> Any:
    _, params, _ = started(name)
    graph, _ = nnx.split(nnx.eval_shape(lambda: small(name)(nnx.Rngs(0))), nnx.Param)
    return nnx.merge(graph, params)


def drawn(*shape, seed=0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CLIPS = drawn(5, 1, 8, 8, 2)
MASK: Any = np.array([True, False, True, True, False])


def counted(make, *parts):
    """Parameters of the whole, and of parts by the path to them."""
    state = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))), nnx.Param))

    def count(path):
        tree: Any = state
        for name in path.split(".") if path else ():
            tree = tree[int(name) if name.isdigit() else name]
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

    return [count(path) for path in ("", *parts)]


def test_parameters_of_off_apexnet():
    stream = (25 * 1 + 1) * 6 + (25 * 6 + 1) * 16
    first, second, last = (2 * 16 * 7 * 7 + 1) * 1024, 1025 * 1024, 1025 * 3
    assert counted(lambda rngs: OFFApexNet(3, rngs=rngs), "u", "v", "first", "second", "last") == [
        2_664_475,
        *(stream, stream, first, second, last),
    ]


def test_parameters_of_dual_inception():
    def inception(c_in, c):
        return 4 * (c_in + 1) * c + (9 * c + 1) * c + (25 * c + 1) * c

    stream = inception(1, 6) + inception(24, 16)
    assert counted(lambda rngs: DualInception(3, rngs=rngs), "u", "v", "first", "last") == [
        6_449_867,
        *(stream, stream, (2 * 64 * 7 * 7 + 1) * 1024, 1025 * 3),
    ]


def test_parameters_of_htnet():
    def level(c, inner, repeats):  # heads of 85 channels: `inner` is less than c
        attention = 2 * c + 3 * c * inner + (inner + 1) * c
        return 1 + repeats * (attention + 2 * c + (c + 1) * 4 * c + (4 * c + 1) * c)

    levels = level(256, 255, 2), level(512, 510, 2), level(1024, 1020, 10)
    between = [(9 * c + 1) * 2 * c + 2 * 2 * c for c in (256, 512)]
    parts = "embed", "levels.0", "levels.1", "levels.2", "aggregates.0", "aggregates.1", "last"
    total, *each = counted(lambda rngs: HTNet(3, rngs=rngs), *parts)
    assert each == [(7 * 7 * 3 + 1) * 256, *levels, *between, 1025 * 3]
    assert total == sum(each) + 2 * 1024 == 139_582_982  # and the last normalisation


@pytest.mark.parametrize(("make", "channels"), [(OFFApexNet, 2), (DualInception, 2), (HTNet, 3)])
def test_one_head_at_the_published_size(make, channels):
    network = functional(lambda rngs: make(4, rngs=rngs))
    x = jnp.zeros((2, 1, 28, 28, channels))

    def logits():
        return network.apply(*network.init(jax.random.key(0)), x, None, True)[0]

    assert jax.eval_shape(logits).shape == (2, 1, 4)


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_is_drawn_and_named_so(name):
    _, params, _ = started(name)
    model = nnx.eval_shape(lambda: small(name)(nnx.Rngs(0)))
    for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        random = "deviation" in variable.get_metadata()
        assert random == (path[-1] in ("kernel", "position")), path
        assert random or path[-1] in ("bias", "scale")
    kernels = [x for path, x in jax.tree.leaves_with_path(params) if path[-1].key == "kernel"]
    assert all(np.std(x) > 0 for x in kernels)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_is_answered_as_if_alone(name):
    run, others = forward(name), np.where(MASK.reshape(-1, 1, 1, 1, 1), CLIPS, 100)
    np.testing.assert_array_equal(run(CLIPS)[MASK], run(others)[MASK])
    assert np.all(run(CLIPS)[~MASK] != run(others)[~MASK])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    network, params, stats = started(name)

    @jax.jit
    @jax.grad
    def gradients(params):
        logits = network.apply(params, stats, CLIPS, None, True, jax.random.key(1))[0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[..., 0])

    for path, gradient in jax.tree.leaves_with_path(gradients(params)):
        assert np.all(np.isfinite(gradient)), path
        largest = np.max(np.abs(gradient))
        if path == LAST_POSITION:  # what all channels have in common is normalised away
            assert largest < 1e-6
        else:
            assert largest > 1e-5, path


LAST_POSITION = tuple(map(jax.tree_util.DictKey, ("levels", 1, "position")))


def test_dropout_of_off_apexnet_needs_a_key():
    run, keys = forward("OFF-ApexNet"), jax.random.split(jax.random.key(0))
    kept, one, other = (run(CLIPS, key) for key in (None, *keys))
    np.testing.assert_array_equal(one, run(CLIPS, keys[0]))
    assert np.all(one != kept)
    assert np.all(one != other)


def test_dropout_leaves_out_half_of_both_hidden_layers():
    network, params, stats = started("OFF-ApexNet")
    ones, units = jnp.ones((1, off_apexnet.HIDDEN)), jnp.eye(off_apexnet.HIDDEN)
    params = params | {
        "first": {"kernel": 0 * params["first"]["kernel"], "bias": ones},
        "second": {"kernel": units, "bias": 0 * ones},  # what it drops, the first one kept
        "last": {"kernel": jnp.tile(ones.T, 3) / off_apexnet.HIDDEN, "bias": jnp.zeros((1, 3))},
    }
    apply = jax.jit(lambda key: network.apply(params, stats, CLIPS, None, True, key)[0])
    kept = apply(jax.random.key(3))[..., 0] / 4  # the share of units; each has 2 * 2
    assert np.all(np.abs(kept - 1 / 4) < 5 * (3 / 16 / off_apexnet.HIDDEN) ** 0.5)


@pytest.mark.parametrize("name", ["Dual-Inception", "HTNet"])
def test_the_others_drop_nothing(name):
    run = forward(name)
    np.testing.assert_array_equal(run(CLIPS), run(CLIPS, jax.random.key(0)))


@pytest.mark.parametrize("make", [OFFApexNet, DualInception])
@pytest.mark.parametrize("channels", [1, 3])
def test_two_streams_refuse_another_image(make, channels):
    with pytest.raises(ValueError, match=f"2 channels; the image has {channels}"):
        jax.eval_shape(lambda x: make(3, side=8, rngs=nnx.Rngs(0))(x), CLIPS[..., [0] * channels])


@pytest.mark.parametrize("name", ["OFF-ApexNet", "Dual-Inception"])
def test_each_stream_sees_its_own_component(name):
    model = module(name)
    see = jax.jit(lambda u, v: (model.u(u), model.v(v)))
    u, v = CLIPS[..., :1], CLIPS[..., 1:]
    of_u, of_v = see(u, v)
    features = off_apexnet.flatten_maps(of_u, of_v)
    np.testing.assert_array_equal(features[:, : features.shape[1] // 2], of_u.reshape(5, -1))
    for moved, unmoved in ((see(u + 1, v), 1), (see(u, v + 1), 0)):
        np.testing.assert_array_equal(moved[unmoved], (of_u, of_v)[unmoved])
        assert np.any(moved[1 - unmoved] != (of_u, of_v)[1 - unmoved])


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (3, 2, 1), (3, 3, 0)]
)
def test_pool_is_that_of_jax(size, stride, padding):
    around = (0, 0), (0, 0), (padding,) * 2, (padding,) * 2, (0, 0)
    windows, strides = (1, 1, size, size, 1), (1, 1, stride, stride, 1)

    def native(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, windows, strides, around)

    @jax.jit
    def both(x):
        ours, back = jax.vjp(lambda x: max_pool2d(x, size, stride, padding), x)
        theirs, native_back = jax.vjp(native, x)
        gradient = drawn(*ours.shape, seed=1)
        return (ours, *back(gradient)), (theirs, *native_back(gradient))

    for one, other in zip(*both(drawn(2, 2, 7, 8, 3))):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_areas_are_eyes_and_mouth_corners():
    rows, columns = np.mgrid[:28, :28]
    image: Any = np.stack([rows, columns], axis=-1)[None, None]
    made = np.asarray(htnet.areas(image))
    assert made.shape == image.shape
    corners = {(0, 0): (2, 4), (0, 14): (14, 3), (14, 0): (3, 14), (14, 14): (13, 14)}
    for (row, column), (top, left) in corners.items():
        wanted = image[:, :, top : top + 14, left : left + 14]
        np.testing.assert_array_equal(made[:, :, row : row + 14, column : column + 14], wanted)


def test_blocks_and_patches_are_squares_of_the_image():
    image: Any = np.arange(64).reshape(1, 1, 8, 8, 1)
    blocks = htnet._split_blocks(image, 4)
    np.testing.assert_array_equal(blocks[5, 0, :, :, 0], image[0, 0, 2:4, 2:4, 0])
    np.testing.assert_array_equal(htnet._merge_blocks(blocks, 4), image)
    patches = htnet._patches(image, 2)
    np.testing.assert_array_equal(patches[0, 0, 1, 2], image[0, 0, 2:4, 4:6, 0].reshape(-1))


def test_tokens_attend_within_their_block():
    level = module("HTNet").levels[0]
    maps = drawn(1, 1, 4, 4, 6)
    moved = maps.copy()
    moved[0, 0, 0, 0] += drawn(6, seed=3)
    attend = jax.jit(lambda x: htnet._merge_blocks(level(htnet._split_blocks(x, 2)), 2))
    changed = np.any(attend(maps) != attend(moved), axis=-1)[0, 0]
    wanted = np.zeros((4, 4), bool)
    wanted[:2, :2] = True
    np.testing.assert_array_equal(changed, wanted)


def test_a_token_alone_has_all_its_attention():
    model = module("HTNet").levels[0].layers[0]

    @jax.jit
    def both(x):
        normed = model.norm(x)
        parts = (part(normed) for part in (model.query, model.key, model.value))
        return model(x), model.out(model._attend(*parts))

    np.testing.assert_array_equal(*both(drawn(4, 1, 1, 1, 6)))


@pytest.mark.parametrize("side", [6, 27, 30])
def test_htnet_refuses_a_side_that_its_blocks_do_not_divide(side):
    with pytest.raises(ValueError, match=f"the side of {side} px must be a multiple of 28"):
        nnx.eval_shape(lambda: HTNet(3, side=side, rngs=nnx.Rngs(0)))
