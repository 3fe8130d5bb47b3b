import dataclasses
import types
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers import written_out
from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings
from mser_jax.models.msres3d import Upsample

pytestmark = pytest.mark.usefixtures("unoptimised")

FULL = MSRes3DSettings(classes=3)
PLAIN = MSRes3DSettings(classes=3, attention=False, rc=None, fusion=False)
TINY = MSRes3DSettings(classes=3, width=2, depths=(1, 1, 1, 1), hidden=4)
CLIPS = (4, 4, 20, 20, 3)


def abstract(settings):
    return nnx.eval_shape(lambda: MSRes3D(settings, rngs=nnx.Rngs(0)))


def shapes(settings, size, of=lambda model, x: model(x)):
    """The shapes that `of` gives for inputs of a size, without any arithmetic."""
    given = jax.ShapeDtypeStruct(size, jnp.float32)
    outputs = jax.eval_shape(lambda x: of(MSRes3D(settings, rngs=nnx.Rngs(0)), x), given)
    return jax.tree.map(lambda output: output.shape, outputs)


def test_shapes_at_the_papers_size():
    def every(model, x):
        maps = model.features(x)
        return maps, model.fuse(maps), model(x)

    maps, outputs, logits = shapes(FULL, (1, 16, 134, 134, 3), every)
    assert maps == [
        (1, 8, 34, 34, 256),
        (1, 4, 17, 17, 512),
        (1, 2, 9, 9, 1024),
        (1, 1, 5, 5, 2048),
    ]
    assert outputs == maps[::-1]
    assert logits == (1, 4, 3)


STYLES = (
    None,
    BranchStyle(),
    BranchStyle(reduction=2, restore="pointwise", weights="free"),
    BranchStyle(chain="depthwise"),
)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_every_pair_of_switches_builds(block, style):
    number, odd = STYLES.index(style), block == "basic"
    fusion = (number + odd) % 2 == 1
    settings = dataclasses.replace(
        TINY,
        block=block,
        rc=style,
        fusion=fusion,
        cascade=number > 1,
        attention=(number // 2 + odd) % 2 == 1,
    )
    assert shapes(settings, CLIPS) == (4, 4 if fusion else 1, 3)


def test_basic_block_has_the_layers_that_the_text_counts():
    blocks = abstract(dataclasses.replace(PLAIN, block="basic")).blocks
    assert [2 * len(block.layers) for block in blocks] == [6, 8, 12, 6]


@pytest.mark.parametrize("cascade", [False, True])
def test_fusion_goes_from_the_deepest_map_to_the_shallowest(cascade):
    def up(source, like, mask):
        return f"up({source})"

    def affa(x, y, mask):
        return f"AFFA({x}, {y})"

    model = types.SimpleNamespace(
        up=[up] * 3,
        affa=[affa] * 3,
        cascade=cascade,
        call_module=lambda module, *given: module(*given),
    )
    outputs = MSRes3D.fuse(cast(MSRes3D, model), cast(list, ["X2", "X3", "X4", "X5"]))
    second = "AFFA(up(X5), X4)"
    third = f"AFFA(up({second}), X3)" if cascade else "AFFA(up(X4), X3)"
    last = f"AFFA(up({third}), X2)" if cascade else "AFFA(up(X3), X2)"
    assert outputs == ["X5", second, third, last]


def test_up_is_cropped_at_its_end_and_then_normalised():
    up = Upsample(3, 2, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 1, 2, 3, 3)).astype(np.float32)
    like = jnp.zeros((2, 2, 3, 5, 2))
    grown = np.zeros((2, 2, 4, 6, 2))
    for a, b, c in np.ndindex(2, 2, 2):
        grown[:, a::2, b::2, c::2] = x @ np.asarray(up.kernel)[a, b, c]
    wanted = written_out.batch_norm(grown[:, :, :3, :5], up.norm)
    np.testing.assert_allclose(up(jnp.asarray(x), like), wanted, rtol=1e-4, atol=1e-5)
