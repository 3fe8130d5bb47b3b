"""How many weights each part has: formulas of its channels and kernels, not calls into the code."""

import pytest
from flax import nnx

from helpers.parameter_counts import cam, conv_bn, head
from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings
from mser_jax.models.affa import AFFA, CAM
from mser_jax.models.attention import TemporalSpatialAttention
from mser_jax.models.msres3d import Head, Upsample
from mser_jax.models.multiscale import RC1, RC2, RC3
from mser_jax.models.network import count_parameters
from mser_jax.models.resnet3d import Basic, Bottleneck, Stem


def parameters(make):
    """The weights of what `make(rngs)` builds, without any arithmetic."""
    module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    return count_parameters(nnx.state(module, nnx.Param))


def network(**switches):
    settings = MSRes3DSettings(classes=3, **switches)
    return parameters(lambda rngs: MSRes3D(settings, rngs=rngs))


PLAIN = {"attention": False, "rc": None, "fusion": False}


def depthwise_bn(k, c):
    return k * c + 2 * c


def stem(c, width):
    return conv_bn(3 * 7 * 7, c, width)


def basic(c, width):
    return conv_bn(27, c, width) + conv_bn(27, width, width)


def bottleneck(c, width):
    return conv_bn(1, c, width) + conv_bn(27, width, width) + conv_bn(1, width, 4 * width)


def plain(unit, expansion, shortcuts):
    """A 3-D residual network of (3, 4, 6, 3) units; `shortcuts` begin at this block of the four."""
    total, c = stem(3, 64), 64
    for number, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        total += conv_bn(1, c, expansion * width) if number >= shortcuts else 0
        for _ in range(depth):
            total += unit(c, width)
            c = expansion * width
    return total + head(c)


ATTENTION = (3 * 2 + 1) + (7 * 7 * 2 + 1)


def up(deep, c):
    return 2 * 2 * 2 * deep * c + 2 * c


def rc1(c, m, restore, chain):  # its 3x3x3 are no chain
    of_both = conv_bn(1, c, c) + 2 * conv_bn(1, c, m) + 4
    if restore == "pointwise":
        return of_both + 3 * conv_bn(27, m, m) + 2 * conv_bn(1, m, c)
    return of_both + conv_bn(27, m, m) + 2 * conv_bn(27, m, c)


def rc2(c, m, restore, chain):
    of_both = conv_bn(1, c, c) + 2 * conv_bn(1, c, m) + 4
    if chain == "depthwise":
        return of_both + 9 * depthwise_bn(7, m) + 2 * conv_bn(1, m, c)
    if restore == "pointwise":
        return of_both + 9 * conv_bn(7, m, m) + 2 * conv_bn(1, m, c)
    return of_both + 7 * conv_bn(7, m, m) + 2 * conv_bn(7, m, c)


def rc3(c, m, restore, chain):
    chained = 3 * (depthwise_bn(3, m) if chain == "depthwise" else conv_bn(3, m, m))
    tail = conv_bn(3, m, m) + conv_bn(1, m, c) if restore == "pointwise" else conv_bn(3, m, c)
    return conv_bn(1, c, c) + 2 * conv_bn(1, c, m) + chained + 6 * tail + 8


@pytest.mark.parametrize("chain", ["factorised", "depthwise"])
@pytest.mark.parametrize("restore", ["last", "pointwise"])
@pytest.mark.parametrize(
    ("module", "count", "c"), [(RC1, rc1, 256), (RC2, rc2, 512), (RC3, rc3, 1024)]
)
@pytest.mark.parametrize("reduction", [2, 4])
def test_rc(module, count, c, restore, chain, reduction):
    style = BranchStyle(reduction, restore, chain)
    counted = parameters(lambda rngs: module(c, style, rngs=rngs))
    assert counted == count(c, c // reduction, restore, chain)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda rngs: Stem(3, 64, attention=False, rngs=rngs), stem(3, 64)),
        (lambda rngs: TemporalSpatialAttention(rngs=rngs), ATTENTION),
        (lambda rngs: Basic(64, 64, 1, rngs=rngs), basic(64, 64)),
        (lambda rngs: Basic(64, 128, 2, rngs=rngs), basic(64, 128) + conv_bn(1, 64, 128)),
        (lambda rngs: Bottleneck(256, 64, 1, rngs=rngs), bottleneck(256, 64)),
        (lambda rngs: Bottleneck(64, 64, 1, rngs=rngs), bottleneck(64, 64) + conv_bn(1, 64, 256)),
        (lambda rngs: CAM(256, 4, rngs=rngs), cam(256)),
        (lambda rngs: AFFA(512, 8, rngs=rngs), 2 * cam(512, 8)),
        (lambda rngs: Upsample(2048, 1024, rngs=rngs), up(2048, 1024)),
        (lambda rngs: Head(2048, 256, 5, rngs=rngs), head(2048, classes=5)),
    ],
    ids=lambda value: value if isinstance(value, int) else "",
)
def test_part(make, count):
    assert parameters(make) == count


def modules(c2, c3, c4, c5, restore="last", chain="factorised"):
    """What the paper adds to the plain network."""
    total = ATTENTION
    for rc, c in ((rc1, c2), (rc2, c3), (rc3, c4)):
        total += rc(c, c // 4, restore, chain)
    for deep, c in ((c5, c4), (c4, c3), (c3, c2)):
        total += up(deep, c) + 2 * cam(c) + head(c)
    return total


def test_bottleneck_network():
    whole = plain(bottleneck, 4, shortcuts=0)
    assert network(**PLAIN) == whole == pytest.approx(46.7e6, rel=1e-3)
    whole += modules(256, 512, 1024, 2048)
    assert network() == whole == pytest.approx(82.1e6, rel=1e-3)


def test_basic_network():
    whole = plain(basic, 1, shortcuts=1)
    assert network(block="basic", **PLAIN) == whole
    whole += modules(64, 128, 256, 512, "pointwise", "depthwise")
    style = BranchStyle(restore="pointwise", chain="depthwise")
    assert network(block="basic", rc=style, cascade=True) == whole
