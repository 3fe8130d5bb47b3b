"""Every block and the whole network against the PyTorch twin: same weights, outputs, gradients."""

import dataclasses
import inspect
from typing import Any

import jax
import pytest

from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings
from mser_jax.models.affa import AFFA, CAM
from mser_jax.models.baselines.ststnet import STSTNet
from mser_jax.models.msres3d import Head, Upsample
from mser_jax.models.multiscale import RC1, RC2, RC3
from mser_jax.models.resnet3d import Basic, Bottleneck, Stem

pytest.importorskip("torch", reason="needs pip install torch")

from helpers import torch_twin as twin
from helpers.torch_pairs import TOLERANCE, Pair, check

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("unoptimised")]

STYLES = [
    BranchStyle(restore=restore, chain=chain, weights=weights)
    for restore, chain, weights in (
        ("last", "factorised", "softmax"),
        ("pointwise", "factorised", "free"),
        ("last", "depthwise", "free"),
        ("pointwise", "depthwise", "softmax"),
    )
]


def style_of(style: BranchStyle | None):
    return None if style is None else twin.Style(**dataclasses.asdict(style))


def stem(attention):
    return Pair(
        lambda rngs: Stem(3, 4, attention=attention, rngs=rngs),
        lambda: twin.Stem(3, 4, attention),
        ((4, 18, 21, 3),),
    )


def unit(kind, c_in, stride):
    ours, c_out = (Basic, 4) if kind == "basic" else (Bottleneck, 16)
    return Pair(
        lambda rngs: ours(c_in, 4, stride, rngs=rngs),
        lambda: twin.Unit(kind, c_in, 4, c_out, stride),
        ((3, 5, 6, c_in),),
    )


def rc(number, style):
    ours = (RC1, RC2, RC3)[number - 1]
    theirs: Any = (twin.rc1, twin.rc2, twin.RC3)[number - 1]
    return Pair(
        lambda rngs: ours(16, style, rngs=rngs),
        lambda: theirs(16, style_of(style)),
        ((3, 5, 4, 16),),
    )


BLOCKS = {
    "stem": stem(False),
    "stem with attention": stem(True),
    "basic": unit("basic", 4, 1),
    "basic with stride": unit("basic", 6, 2),
    "bottleneck": unit("bottleneck", 16, 1),
    "bottleneck with stride": unit("bottleneck", 8, 2),
    "bottleneck, wider": unit("bottleneck", 4, 1),
    **{
        f"RC{number} {style.restore} {style.chain} {style.weights}": rc(number, style)
        for number in (1, 2, 3)
        for style in STYLES
    },
    "CAM": Pair(lambda rngs: CAM(8, 4, rngs=rngs), lambda: twin.CAM(8, 4), ((2, 3, 3, 8),)),
    "AFFA": Pair(lambda rngs: AFFA(8, 4, rngs=rngs), lambda: twin.AFFA(8, 4), ((2, 3, 3, 8),) * 2),
    "up": Pair(
        lambda rngs: Upsample(8, 4, rngs=rngs),
        lambda: twin.Up(8, 4),
        ((1, 2, 3, 8), (2, 3, 5, 4)),
    ),
    "head": Pair(
        lambda rngs: Head(6, 5, 3, rngs=rngs), lambda: twin.Head(6, 5, 3), ((2, 3, 3, 6),)
    ),
    "STSTNet": Pair(
        lambda rngs: STSTNet(3, side=16, rngs=rngs),
        lambda: twin.STSTNet(3, side=16, dropout=0.0),
        ((1, 16, 16, 3),),
    ),
}

SMALL = MSRes3DSettings(classes=3, width=8, depths=(1, 1, 1, 1), hidden=6, channels=2)
BASIC = dataclasses.replace(SMALL, block="basic", cam_reduction=2)
# Without the fusion, a bottleneck after an RC would take its last biases out again: its 1x1x1 is
# normalised. So the RC are tested with the fusion, or with basic units.
PAPERS = dataclasses.replace(SMALL, depths=(1, 2, 1, 1))
OTHERS = {
    "basic, cascade": dataclasses.replace(
        BASIC, cascade=True, rc=dataclasses.replace(STYLES[3], reduction=2)
    ),
    "bottleneck, no RC, no fusion": dataclasses.replace(SMALL, rc=None, fusion=False),
    "basic, no attention, no fusion": dataclasses.replace(
        BASIC, attention=False, fusion=False, rc=dataclasses.replace(STYLES[1], reduction=2)
    ),
}


def network(settings):
    names = inspect.signature(twin.MSRes3D).parameters
    theirs: dict[str, Any] = {name: getattr(settings, name) for name in names}
    theirs["rc"] = style_of(settings.rc)
    return Pair(
        lambda rngs: MSRes3D(settings, rngs=rngs),
        lambda: twin.MSRes3D(**theirs),
        ((8, 20, 34, settings.channels),),
    )


@pytest.fixture(params=TOLERANCE)
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.mark.parametrize("mode", ["training", "masked", "evaluation"])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_its_twin(name, mode, dtype):
    check(BLOCKS[name], mode, dtype)


@pytest.mark.parametrize("mode", ["training", "masked", "evaluation"])
def test_the_papers_network_is_its_twin(mode, dtype):
    # In float32 what is left where a gradient's terms cancel is rounding: through the whole network
    # the gradients are compared by the largest entry of all.
    check(network(PAPERS), mode, dtype, shared_scale=dtype == "float32")


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("name", OTHERS)
def test_the_network_with_other_parts_is_its_twin(name, mode):
    with jax.enable_x64(True):
        check(network(OTHERS[name]), mode, "float64")
