"""The training loss (section 3.4), and the class weights in it."""

from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int


def head_losses(
    logits: Float[Array, "b k n"],
    labels: Int[Array, " b"],
    mask: Bool[Array, " b"],
    weights: Float[Array, " n"] | None = None,
) -> Float[Array, " k"]:
    """Return the cross-entropy of each head, a weighted mean over the batch's clips.

    Args:
      logits: Logits of every head.
      labels: Class of each clip.
      mask: False where the batch has no clip.
      weights: Weight of a clip of each class, on any scale. None is the plain mean (all weights 1).
        It adds no operation to the program: under `vmap`, another division may change the rounding
        of other sums.

    Returns:
      `sum(w l) / sum(w)` over the clips of the batch, as in torch.nn.CrossEntropyLoss with
      `weight`; 0 if all weights are 0, as in an empty batch.
    """
    targets = jnp.broadcast_to(labels[:, None], logits.shape[:2])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return _mean_over_clips(losses, labels, mask, weights)


def head_margin_losses(
    lengths: Float[Array, "b k n"],
    labels: Int[Array, " b"],
    mask: Bool[Array, " b"],
    weights: Float[Array, " n"] | None = None,
) -> Float[Array, " k"]:
    """Return the margin loss of each head, a weighted mean over the batch's clips.

    Args:
      lengths: Lengths of the capsules of the classes, in [0, 1).
      labels: Class of each clip.
      mask: False where the batch has no clip.
      weights: Weight of a clip of each class, as in `head_losses`.

    Returns:
      The mean of `head_losses`, of the margin losses.

    References:
      Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, eq. 4, with lambda 0.5;
      m+ 0.99 and m- 0.01 are those of CapsuleNet's authors (Van Quang et al. 2019, their code).
    """
    targets = jax.nn.one_hot(labels, lengths.shape[-1], dtype=lengths.dtype)[:, None]
    present = targets * jnp.maximum(0.99 - lengths, 0) ** 2
    absent = 0.5 * (1 - targets) * jnp.maximum(lengths - 0.01, 0) ** 2
    return _mean_over_clips(jnp.sum(present + absent, axis=-1), labels, mask, weights)


LOSSES = MappingProxyType({"cross_entropy": head_losses, "margin": head_margin_losses})


def _mean_over_clips(
    losses: Float[Array, "b k"], labels: Array, mask: Array, weights: Array | None
) -> Float[Array, " k"]:
    if weights is None:
        clip_weights, total = mask, jnp.maximum(jnp.sum(mask), 1)
    else:
        clip_weights = weights[labels] * mask
        total = jnp.where(jnp.any(clip_weights > 0), jnp.sum(clip_weights), 1)
    return jnp.sum(losses * clip_weights[:, None], axis=0) / total


def balanced_class_weights(
    labels: Int[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, " classes"]:
    """Return the class weights that give every class the same total weight.

    Args:
      labels: Class of each clip.
      classes: Number of classes.

    Returns:
      `n / (classes * count)` of each class, float32 (scikit-learn's 'balanced'). Their mean over
      the clips is 1 if every class has a clip. A class without a clip gets 0.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)
