import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.utils.class_weight import compute_class_weight

from mser_jax.train.losses import balanced_class_weights, head_losses, head_margin_losses

LABELS = np.array([2, 0, 1, 1, 0])
MASK = np.array([True, False, True, True, False])
ONES = np.ones(3, np.float32)


def logits_of(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 3


@jax.jit
def losses_and_gradient(logits, labels, mask, weights):
    """The gradient is that of their sum."""

    def total(logits):
        losses = head_losses(logits, labels, mask, weights)
        return jnp.sum(losses), losses

    gradient, losses = jax.grad(total, has_aux=True)(logits)
    return losses, gradient


def cross_entropies(logits, labels):
    """Of each clip and head, in float64."""
    wide = logits.astype(np.float64)
    probabilities = np.exp(wide) / np.exp(wide).sum(axis=-1, keepdims=True)
    return -np.log(probabilities[np.arange(len(labels)), :, labels])


def test_cross_entropy_of_each_head_over_the_clips_that_are_there():
    logits = logits_of(5, 4, 3)
    wanted = cross_entropies(logits, LABELS)[MASK].mean(axis=0)
    losses, _ = losses_and_gradient(logits, LABELS, MASK, ONES)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)


def test_classes_weigh_what_they_are_told_to():
    """By hand, for the clips that are there: their classes 2, 1, 1 weigh 4, 0.5, 0.5 of 5."""
    logits = logits_of(5, 4, 3)
    of_clip = cross_entropies(logits, LABELS)
    wanted = (4 * of_clip[0] + 0.5 * of_clip[2] + 0.5 * of_clip[3]) / 5
    for scale in (1, 1e-3):
        weights = np.array([100, 0.5, 4], np.float32) * scale
        losses, _ = losses_and_gradient(logits, LABELS, MASK, weights.astype(np.float32))
        np.testing.assert_allclose(losses, wanted, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, ONES])
def test_weights_of_one_and_none_are_the_mean_to_the_bit(weights):
    rng = np.random.default_rng(1)
    logits, labels, mask = logits_of(64, 4, 3), rng.integers(3, size=64), rng.random(64) < 0.6

    @jax.jit
    def mean(logits, labels, mask):
        def total(logits):
            targets = jnp.broadcast_to(labels[:, None], logits.shape[:2])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            losses = jnp.sum(losses * mask[:, None], axis=0) / jnp.maximum(jnp.sum(mask), 1)
            return jnp.sum(losses), losses

        gradient, losses = jax.grad(total, has_aux=True)(logits)
        return losses, gradient

    ours = losses_and_gradient(logits, labels, mask, weights)
    for made, wanted in zip(ours, mean(logits, labels, mask), strict=True):
        np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize(("there", "weights"), [(False, None), (False, ONES), (True, 0 * ONES)])
def test_a_batch_that_weighs_nothing_has_no_loss_and_no_gradient(there, weights):
    mask = np.full(5, there)
    losses, gradient = losses_and_gradient(logits_of(5, 4, 3), LABELS, mask, weights)
    np.testing.assert_array_equal(losses, np.zeros(4))
    np.testing.assert_array_equal(gradient, np.zeros((5, 4, 3)))


@pytest.mark.parametrize("counts", [(3, 3, 3), (1, 2, 9), (70, 51, 43)])
def test_balanced_is_what_scikit_learn_calls_so(counts):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), counts))
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    weights = balanced_class_weights(labels, 3)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, wanted, rtol=1e-6)


def test_balanced_of_a_class_without_a_clip():
    np.testing.assert_allclose(
        balanced_class_weights(np.array([0, 2, 2, 2]), 4), [1, 0, 1 / 3, 0], rtol=1e-6
    )


def test_margin_loss_written_out():
    lengths = np.random.default_rng(1).uniform(0, 0.99, (5, 2, 3)).astype(np.float32)
    wanted = np.zeros(2)
    for clip in np.flatnonzero(MASK):
        for head in range(2):
            for name, length in enumerate(lengths[clip, head]):
                own = name == LABELS[clip]
                loss = max(0, 0.99 - length) ** 2 if own else 0.5 * max(0, length - 0.01) ** 2
                wanted[head] += loss / MASK.sum()
    margins = jax.jit(head_margin_losses)
    np.testing.assert_allclose(margins(lengths, LABELS, MASK), wanted, rtol=1e-5)
    weighted = margins(lengths, LABELS, MASK, np.array([0, 0, 1], np.float32))
    alone = margins(lengths[:1], LABELS[:1], MASK[:1])
    np.testing.assert_allclose(weighted, alone, rtol=1e-5)  # only clip 0 is of class 2
