from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings
from mser_jax.train import optimizer

RATE = 1e-2
PARAMS = {
    "conv": {"kernel": np.ones((3, 3, 3, 2, 4)), "bias": np.ones((1, 1, 1, 1, 4))},
    "norms": {0: {"scale": np.ones(4), "bias": np.ones(4)}},
    "rc": {"weights": np.ones(3)},
    "dense": {"kernel": np.ones((4, 3)), "bias": np.ones((1, 3))},
}


def drawn(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("float32"), PARAMS)


def trained(transformation, minus_rate, steps=4):
    """The parameters after some steps, their updates multiplied by `minus_rate`."""

    @jax.jit
    def step(params, state, gradients, factor):
        updates, state = transformation.update(gradients, state, params)
        updates = jax.tree.map(lambda update: factor * update, updates)
        return optax.apply_updates(params, updates), state

    params = drawn(0)
    state = jax.jit(transformation.init)(params)
    for seed in range(1, steps + 1):
        params, state = step(params, state, drawn(seed), minus_rate)
    return params


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_without_decay_it_is_adam_to_the_bit():
    ours = trained(optimizer.make("adam", 0.0), np.float32(-RATE))
    equal(ours, trained(optax.adam(RATE), np.float32(1)))


def test_sgd_is_that_with_momentum_to_the_bit():
    ours = trained(optimizer.make("sgd", 0.0), np.float32(-RATE))
    equal(ours, trained(optax.sgd(RATE, momentum=0.9), np.float32(1)))


def test_with_decay_it_is_adamw_to_the_bit():
    decayed = {
        "conv": {"kernel": True, "bias": False},
        "norms": {0: {"scale": False, "bias": False}},
        "rc": {"weights": False},
        "dense": {"kernel": True, "bias": False},
    }
    ours = trained(optimizer.make("adam", 0.3), np.float32(-RATE))
    equal(ours, trained(optax.adamw(RATE, weight_decay=0.3, mask=decayed), np.float32(1)))


def test_a_step_without_a_gradient_shrinks_kernels_alone():
    params: Any = drawn(0)
    transformation = optimizer.make("adam", 0.3)

    @jax.jit
    def still(params):
        gradients = jax.tree.map(jnp.zeros_like, params)
        return transformation.update(gradients, transformation.init(params), params)[0]

    updates: Any = still(params)
    for name in ("conv", "dense"):
        wanted = 0.3 * params[name].pop("kernel")
        np.testing.assert_allclose(updates[name].pop("kernel"), wanted, rtol=1e-6)
    equal(updates, jax.tree.map(np.zeros_like, params))


def test_what_decays_of_the_network_is_what_is_drawn_at_its_start():
    """Kernels are drawn; biases, scales and the weights of branches start at a constant."""
    settings = MSRes3DSettings(classes=3, width=2, rc=BranchStyle(chain="depthwise"))
    params = nnx.state(nnx.eval_shape(lambda: MSRes3D(settings, rngs=nnx.Rngs(0))), nnx.Param)
    wanted = {
        path: "deviation" in variable.get_metadata() for path, variable in nnx.to_flat_state(params)
    }
    decayed = {
        tuple(entry.key for entry in path): leaf
        for path, leaf in jax.tree.leaves_with_path(optimizer.kernel_mask(nnx.to_pure_dict(params)))
    }
    assert decayed == wanted
    assert {True, False} == set(wanted.values())
