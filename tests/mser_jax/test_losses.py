import jax.numpy as jnp
import numpy as np

from mser_jax.losses import head_losses


def test_cross_entropy_of_each_head_over_the_clips_that_are_there():
    logits = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32) * 3
    labels, mask = np.array([2, 0, 1, 1, 0]), np.array([True, False, True, True, False])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    wanted = -np.log(probabilities[np.arange(5), :, labels])[mask].mean(axis=0)
    losses = head_losses(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(mask))
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)


def test_empty_batch_has_no_loss():
    losses = head_losses(jnp.ones((2, 4, 3)), jnp.zeros(2, jnp.int32), jnp.zeros(2, bool))
    np.testing.assert_array_equal(losses, np.zeros(4))
