import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mser_jax.models import functional
from mser_jax.models.layers import ConvBN, Dense, global_mean
from mser_jax.models.ops import conv

pytestmark = pytest.mark.usefixtures("unoptimised")


class Small(nnx.Module):
    def __init__(self, *, rngs):
        self.first = ConvBN(2, 40, (3, 3, 3), rngs=rngs)
        self.second = ConvBN(40, 40, (3, 3, 3), rngs=rngs)
        self.dense = Dense(40, 3, rngs=rngs)

    def __call__(self, x, mask=None, key=None):
        pooled = global_mean(self.second(self.first(x, mask), mask))
        return self.dense(pooled.reshape(len(x), -1))[:, None]


@pytest.fixture(scope="module")
def network():
    return functional(lambda rngs: Small(rngs=rngs))


def key(name):
    return jax.random.fold_in(jax.random.key(0), zlib.crc32(name.encode()))


@pytest.fixture(scope="module")
def start(network):
    return network.init(key("smic/s1"))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((4, 2, 5, 5, 2)).astype(np.float32)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def equal(first, second):
    return [np.array_equal(a, b) for a, b in zip(leaves(first), leaves(second), strict=True)]


def test_init_is_the_same_compiled_alone_and_lifted(network, start):
    keys = jnp.stack([key("smic/s2"), key("smic/s1")])
    by_vmap = jax.jit(jax.vmap(network.init))(keys)
    by_map = jax.jit(lambda keys: jax.lax.map(network.init, keys))(keys)
    compiled = jax.jit(network.init)(keys[1])
    assert all(equal(jax.tree.map(lambda leaf: leaf[1], by_map), compiled))
    for lifted in (by_vmap, by_map):
        for leaf, wanted in zip(leaves(lifted), leaves(start), strict=True):
            np.testing.assert_allclose(leaf[1], wanted, rtol=1e-5, atol=1e-6)


def test_weights_differ_between_names_and_within_a_network(network, start):
    params, other = start[0], network.init(key("smic/s2"))[0]
    kernels = [params[name]["conv"]["kernel"] for name in ("first", "second")]
    kernels.append(params["dense"]["kernel"])
    drawn = np.concatenate([np.ravel(kernel) for kernel in kernels])
    assert len(np.unique(drawn)) > 0.99 * len(drawn)  # no stretch of the draws is used twice
    assert not any(
        equal(
            kernels,
            [other[n]["conv"]["kernel"] for n in ("first", "second")] + [other["dense"]["kernel"]],
        )
    )
    for kernel, fan_in in zip(kernels, (2 * 27, 40 * 27, 40)):
        assert np.std(kernel) == pytest.approx((2 / fan_in) ** 0.5, rel=5 / kernel.size**0.5)
    assert not np.any(params["dense"]["bias"])
    assert np.all(params["first"]["norm"]["scale"] == 1)


def test_statistics_move_in_training_alone(network, start, x):
    params, stats = start
    logits, moved = network.apply(params, stats, x, None, True)
    assert logits.shape == (4, 1, 3)
    assert not any(equal(moved, stats))
    evaluated, still = network.apply(params, moved, x, None, False)
    assert all(equal(still, moved))
    assert not np.allclose(evaluated, logits, atol=1e-3)
    alone = network.apply(params, moved, x[:1], None, False)[0]
    np.testing.assert_allclose(alone, evaluated[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", conv.LOWERINGS)
def test_every_convolution_takes_the_lowering_that_is_asked_for(name, start, x):
    network = functional(lambda rngs: Small(rngs=rngs), name)
    forward = jax.make_jaxpr(lambda params: network.apply(params, start[1], x, None, True))
    program = str(forward(start[0]))
    assert program.count("conv_general_dilated[") == (2 if name == "xla" else 0)
    assert program.count("scan[") == (2 if name == "frames" else 0)


def test_a_lowering_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="unknown lowering 'fast'; choose auto, xla, einsum"):
        functional(lambda rngs: Small(rngs=rngs), "fast")


def test_empty_slots_change_no_other_clip_and_no_statistic(network, start, x):
    params, stats = start
    mask = jnp.array([True, True, False, True])
    masked = network.apply(params, stats, x, mask, True)
    filled = network.apply(params, stats, np.where(mask.reshape(-1, 1, 1, 1, 1), x, 9), mask, True)
    assert all(equal(masked[1], filled[1]))
    assert equal(list(masked[0]), list(filled[0])) == mask.tolist()
    full = network.apply(params, stats, x, None, True)
    assert not any(equal(full[1], masked[1]))
