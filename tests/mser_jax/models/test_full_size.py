"""One clip through the paper's network at full size: a minute to compile, seconds to run."""

import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mser_jax.models import MSRes3D, MSRes3DSettings, functional

pytestmark = pytest.mark.slow


def test_forward_and_backward_of_one_clip_are_finite():
    """With -s it prints its time and memory."""
    network = functional(lambda rngs: MSRes3D(MSRes3DSettings(classes=4), rngs=rngs))
    params, stats = jax.jit(network.init)(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((1, 16, 134, 134, 3)).astype(np.float32)

    @jax.jit
    def run(params, stats, x):
        def loss(params):
            logits, moved = network.apply(params, stats, x, None, True)
            return -jnp.sum(jax.nn.log_softmax(logits)[..., 0]), (logits, moved)

        return jax.grad(loss, has_aux=True)(params)

    made = run.lower(params, stats, x).compile()
    began = time.process_time()
    gradients, (logits, moved) = jax.block_until_ready(made(params, stats, x))
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{seconds:.1f} s of processor time; the process has held {peak:.1f} GiB at most")

    assert logits.shape == (1, 4, 4)
    for leaf in jax.tree.leaves((gradients, logits, moved)):
        assert np.isfinite(leaf).all()
    silent = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree.leaves_with_path(gradients)
        if not np.any(leaf)
    ]
    # A value alone is its own mean. So a CAM says the same of every clip and passes on nothing to
    # what is before its last biases: in three AFFA the whole first round, with six leaves in each
    # of two branches, and five in those of the second.
    assert all(path.startswith("['affa']") for path in silent)
    assert len(silent) == 3 * 2 * (6 + 5)
