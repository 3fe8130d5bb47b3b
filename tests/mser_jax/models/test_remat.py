"""Stages computed anew in backward: less memory, the same numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mser_jax.models import MSRes3D, MSRes3DSettings, functional

# Wide behind the stem, so that what the stem needs alone is not the most.
KEPT = MSRes3DSettings(
    classes=3, channels=1, block="basic", width=16, depths=(2, 1, 1, 1), hidden=8, dropout=0.5
)
CLIPS = (6, 4, 32, 32, 1)
# The CPU's compiler drops the barriers of `jax.checkpoint` and then merges what is computed twice.
# Without that pass it keeps them.
OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander", "xla_backend_optimization_level": 0}


def compiled(remat):
    """Bytes beside inputs and outputs; the gradients, logits and moved statistics, in float64."""
    settings = dataclasses.replace(KEPT, remat=remat)
    of = functional(lambda rngs: MSRes3D(settings, rngs=rngs))

    def loss(params, stats, x, mask):
        logits, moved = of.apply(params, stats, x, mask, True, jax.random.key(1))
        return jnp.sum(logits**2), (logits, moved)

    shapes = *jax.eval_shape(of.init, jax.random.key(0)), np.empty(CLIPS)
    rng = np.random.default_rng(0)
    given = jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape), shapes)
    given = *given, np.array([True] * 5 + [False])
    with jax.enable_x64(True):
        lowered = jax.jit(jax.grad(loss, has_aux=True)).lower(*given)
        made = lowered.compile(compiler_options=OPTIONS)
        memory = made.memory_analysis()
        assert memory
        return memory.temp_size_in_bytes, jax.device_get(made(*given))


@pytest.fixture(scope="module")
def both():
    return compiled(False), compiled(True)


def test_backward_needs_less_memory(both):
    (kept, _), (anew, _) = both
    assert anew < 0.7 * kept


def test_gradients_outputs_and_statistics_are_the_same(both):
    """The statistics with them: each moves once, though its stage is computed twice."""
    (_, kept), (_, anew) = both
    for (path, one), other in zip(
        jax.tree.leaves_with_path(kept), jax.tree.leaves(anew), strict=True
    ):
        scale = np.abs(one).max()
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-9 * scale, err_msg=str(path))
