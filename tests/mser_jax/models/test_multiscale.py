from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers import written_out
from helpers.written_out import jumbled
from mser_jax.models.multiscale import RC1, RC2, RC3, BranchStyle, FusionWeights

pytestmark = pytest.mark.usefixtures("unoptimised")

CHANNELS = 8
POINT, CUBE = (1, 1, 1), (3, 3, 3)
LONG = [(1, 1, 7), (1, 7, 1), (7, 1, 1)]
SHORT = [(1, 1, 3), (1, 3, 1), (3, 1, 1)]
STYLES = {
    "default": BranchStyle(),
    "free": BranchStyle(weights="free"),
    "pointwise": BranchStyle(reduction=2, restore="pointwise"),
    "depthwise": BranchStyle(chain="depthwise"),
    "both": BranchStyle(restore="pointwise", chain="depthwise", weights="free"),
}


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2, 3, 5, 4, CHANNELS)).astype(np.float32)


def made(rc, style) -> Any:
    """A module whose every weight has a value of its own, those of the fusion too."""
    return jumbled(rc(CHANNELS, style, rngs=nnx.Rngs(0)))


def combined(module, maps):
    """Eq. (3.8) and (3.9): K = alpha X1 + beta X2 + ..."""
    weights = np.asarray(module.fuse.weights[...], np.float64)
    if module.fuse.softmax:
        weights = np.exp(weights) / np.exp(weights).sum()
    assert len(weights) == len(maps)
    return sum(weight * x for weight, x in zip(weights, maps))


def average(x):
    return x.mean(axis=(1, 2, 3), keepdims=True)


def output(module, x):
    graph, state = nnx.split(module)
    return jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x)


def near(value, expected):
    np.testing.assert_allclose(value, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("rc", [RC1, RC2])
def test_rc1_and_rc2_written_out(rc, style, x):
    module = made(rc, STYLES[style])
    maps = [written_out.chain(x, branch) for branch in module.branches]
    near(output(module, x), combined(module, [*maps, average(x)]))  # eq. (3.8)


@pytest.mark.parametrize("style", STYLES)
def test_rc3_written_out(style, x):
    module = made(RC3, STYLES[style])
    chained = written_out.chain(x, module.chained, last_relu=True)
    plain = written_out.chain(x, module.plain, last_relu=True)
    maps = [written_out.chain(chained, tail) for tail in module.chained_tails]
    maps += [written_out.chain(plain, tail) for tail in module.plain_tails]
    maps += [written_out.chain(x, module.point), average(x)]
    near(output(module, x), combined(module, maps))  # eq. (3.9)


@pytest.mark.parametrize(
    ("rc", "style", "wanted"),
    [
        (RC1, "default", [[POINT], [POINT, CUBE], [POINT, CUBE, CUBE]]),
        (RC1, "pointwise", [[POINT], [POINT, CUBE, POINT], [POINT, CUBE, CUBE, POINT]]),
        (RC1, "depthwise", [[POINT], [POINT, CUBE], [POINT, CUBE, CUBE]]),
        (RC2, "default", [[POINT], [POINT, *LONG], [POINT, *LONG, *LONG]]),
        (RC2, "depthwise", [[POINT], [POINT, *LONG, POINT], [POINT, *LONG, *LONG, POINT]]),
        (RC2, "both", [[POINT], [POINT, *LONG, POINT], [POINT, *LONG, *LONG, POINT]]),
    ],
)
def test_branches_have_the_kernels_of_section_3_3_2(rc, style, wanted):
    module = made(rc, STYLES[style])
    assert [written_out.kernel_sizes(branch) for branch in module.branches] == wanted
    for branch in module.branches[1:]:
        kernels = [layer.conv.kernel for layer in branch.layers]
        middle = CHANNELS // STYLES[style].reduction
        assert kernels[0].shape[3:] == (CHANNELS, middle)
        assert all(kernel.shape[3] == middle for kernel in kernels[1:])
        assert kernels[-1].shape[-1] == CHANNELS


@pytest.mark.parametrize("style", ["default", "depthwise", "pointwise"])
def test_rc3_has_the_kernels_of_section_3_3_2(style):
    module = made(RC3, STYLES[style])
    restored = [POINT] if style == "pointwise" else []
    assert written_out.kernel_sizes(module.chained) == [POINT, *SHORT]
    assert written_out.kernel_sizes(module.plain) == [POINT]
    for tails in (module.chained_tails, module.plain_tails):
        assert [written_out.kernel_sizes(tail) for tail in tails] == [
            [size, *restored] for size in SHORT
        ]
    assert written_out.kernel_sizes(module.point) == [POINT]
    depthwise = [layer.conv.kernel[...].ndim == 4 for layer in module.chained.layers]
    assert depthwise == [False, *[style == "depthwise"] * 3]


@pytest.mark.parametrize("normalisation", ["softmax", "free"])
def test_fusion_weights_start_equal(normalisation):
    fuse = FusionWeights(4, normalisation)
    maps = [jnp.full((1, 1, 1, 1, 1), value) for value in (1.0, 2.0, 3.0, 6.0)]
    assert fuse(maps) == pytest.approx(3.0)
    assert np.ptp(fuse.weights[...]) == 0
