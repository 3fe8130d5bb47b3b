"""Multiply-adds, parameters and kept bytes against counts by hand."""

import dataclasses

import jax
import pytest

from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings, cost, functional
from mser_jax.models.network import count_parameters

FULL = MSRes3DSettings(classes=4)
PLAIN = dataclasses.replace(FULL, attention=False, rc=None, fusion=False)
CLIP = (16, 134, 134, 3)
TINY = MSRes3DSettings(classes=3, block="basic", width=2, depths=(1, 1, 1, 1), hidden=5)

# Places of the maps at full size: after block 1, X2, X3, X4, X5.
FIRST, X2, X3, X4, X5 = 16 * 67 * 67, 8 * 34 * 34, 4 * 17 * 17, 2 * 9 * 9, 5 * 5


def macs(settings, clip=CLIP):
    return {part.name: part.macs for part in cost.parts(cost.calls(settings, clip))}


def block(before, after, c_in, width, depth):
    """Bottlenecks: 1x1x1, 3x3x3 with the stride, 1x1x1, and the first one's shortcut."""
    tail = after * (27 * width * width + width * 4 * width)
    first = before * c_in * width + tail + after * c_in * 4 * width
    return first + (depth - 1) * (after * 4 * width * width + tail)


def cam(channels):
    return 2 * 2 * channels * channels // 4


def head(channels):
    return channels * 256 + 256 * 4


BACKBONE = {
    "block 1": FIRST * 3 * 7 * 7 * 3 * 64,
    "max-pool": 0,
    "block 2": block(X2, X2, 64, 64, 3),
    "block 3": block(X2, X3, 256, 128, 4),
    "block 4": block(X3, X4, 512, 256, 6),
    "block 5": block(X4, X5, 1024, 512, 3),
    "head on O1": head(2048),
}
MODULES = {
    "attention": 16 * 3 * 2 + 67 * 67 * 7 * 7 * 2,
    "RC1": X2 * (256 * 256 + 2 * 256 * 64 + 2 * 27 * 64 * 256 + 27 * 64 * 64),
    "RC2": X3 * (512 * 512 + 2 * 512 * 128 + 2 * 7 * 128 * 512 + 7 * 7 * 128 * 128),
    "RC3": X4 * (1024 * 1024 + 2 * 1024 * 256 + 3 * 3 * 256 * 256 + 6 * 3 * 256 * 1024),
    "up to X4": X5 * 8 * 2048 * 1024,
    "up to X3": X4 * 8 * 1024 * 512,
    "up to X2": X3 * 8 * 512 * 256,
    "AFFA, O2": 2 * cam(1024),
    "AFFA, O3": 2 * cam(512),
    "AFFA, O4": 2 * cam(256),
    "head on O2": head(1024),
    "head on O3": head(512),
    "head on O4": head(256),
}


def test_multiply_adds_at_full_size_are_those_counted_by_hand():
    assert macs(PLAIN) == BACKBONE
    assert sum(BACKBONE.values()) == pytest.approx(12.30e9, rel=1e-3)
    assert macs(FULL) == BACKBONE | MODULES
    assert sum((BACKBONE | MODULES).values()) == pytest.approx(28.28e9, rel=1e-3)


def test_pointwise_and_depthwise_branches_cost_what_they_save():
    style = BranchStyle(restore="pointwise")
    pointwise = X2 * (256 * 256 + 4 * 256 * 64 + 3 * 27 * 64 * 64)
    assert macs(dataclasses.replace(FULL, rc=style))["RC1"] == pointwise
    chained = macs(dataclasses.replace(FULL, rc=BranchStyle(chain="depthwise")))["RC2"]
    assert chained == X3 * (512 * 512 + 4 * 512 * 128 + 9 * 7 * 128)


@pytest.mark.parametrize(
    "settings",
    [
        FULL,
        PLAIN,
        dataclasses.replace(TINY, cascade=True, rc=BranchStyle(chain="depthwise")),
        dataclasses.replace(TINY, remat=True, dtype="bfloat16"),
    ],
)
def test_parts_hold_every_parameter_of_the_network(settings):
    network = functional(lambda rngs: MSRes3D(settings, rngs=rngs))
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    calls = cost.calls(settings, (4, 20, 20, 3))
    total = count_parameters(params)
    assert sum(part.parameters for part in cost.parts(calls)) == total
    assert sum(call.parameters for call in calls) == total


def test_parts_are_in_the_order_of_the_network():
    names = [part.name for part in cost.parts(cost.calls(FULL, CLIP))]
    assert names[:5] == ["block 1", "attention", "max-pool", "block 2", "RC1"]
    assert names[9:13] == ["block 5", "up to X4", "AFFA, O2", "up to X3"]
    assert names[-1] == "head on O4"


def test_kept_bytes_written_out():
    """Of a small plain network of basic blocks, whose maps are counted by hand."""
    plain = dataclasses.replace(TINY, attention=False, rc=None, fusion=False)
    first, x2, x3, x4, x5 = 4 * 16 * 16 * 2, 2 * 8 * 8 * 2, 4 * 4 * 4, 2 * 2 * 8, 16
    stages = [
        3 * first + x2,  # convolution, normalisation, ReLU; max-pool
        6 * x2,  # ... twice, the second ReLU after the sum
        8 * x3,  # and a shortcut with its normalisation
        8 * x4,
        8 * x5,
    ]
    heads = 5 + 3 + 3  # two layers, and the logits of all heads
    calls = cost.calls(plain, (4, 32, 32, 3))
    assert cost.activation_bytes(calls, remat=False) == 4 * (sum(stages) + heads)
    anew = 4 * (x2 + x2 + x3 + x4 + x5 + max(stages) + heads)
    assert cost.activation_bytes(calls, remat=True) == anew
    narrow = cost.calls(dataclasses.replace(plain, dtype="bfloat16"), (4, 32, 32, 3))
    assert cost.activation_bytes(narrow, remat=False) == 2 * sum(stages) + 4 * heads


def test_the_modules_are_as_they_were_when_the_count_is_done():
    before = MSRes3D.__call__
    cost.calls(TINY, (4, 20, 20, 3))
    assert MSRes3D.__call__ is before
