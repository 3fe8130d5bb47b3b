"""The training loss (section 3.4), and what the clips of a class weigh in it."""

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
    """The cross-entropy of each head, a weighted mean over the clips of the batch.

    Args:
      logits: of every head.
      labels: the class of each clip.
      mask: False where the batch has no clip.
      weights: of a clip of each class, on any scale. None is 1 for all, the mean, and leaves no
        trace in the program: under `vmap` another division may round other sums another way.

    Returns:
      `sum(w l) / sum(w)` over the clips that are there (as torch.nn.CrossEntropyLoss with `weight`
      has it); 0 when nothing weighs anything, as in an empty batch.
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
    """The margin loss of each head's capsules; arguments and mean as of `head_losses`.

    Args:
      lengths: of the capsules of the classes, in [0, 1).
      labels: the class of each clip.
      mask: False where the batch has no clip.
      weights: of a clip of each class.

    References:
      Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, eq. 4, with lambda 0.5;
      m+ 0.99 and m- 0.01 are those of CapsuleNet's authors (Van Quang et al. 2019, their code).
    """
    own = jax.nn.one_hot(labels, lengths.shape[-1], dtype=lengths.dtype)[:, None]
    missed = own * jnp.maximum(0.99 - lengths, 0) ** 2
    taken = 0.5 * (1 - own) * jnp.maximum(lengths - 0.01, 0) ** 2
    return _mean_over_clips(jnp.sum(missed + taken, axis=-1), labels, mask, weights)


LOSSES = MappingProxyType({"cross_entropy": head_losses, "margin": head_margin_losses})


def _mean_over_clips(
    losses: Float[Array, "b k"], labels: Array, mask: Array, weights: Array | None
) -> Float[Array, " k"]:
    if weights is None:
        share, total = mask, jnp.maximum(jnp.sum(mask), 1)
    else:
        share = weights[labels] * mask
        total = jnp.where(jnp.any(share > 0), jnp.sum(share), 1)
    return jnp.sum(losses * share[:, None], axis=0) / total


def balanced_class_weights(
    labels: Int[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, " classes"]:
    """The weights under which every class of some clips weighs the same in all.

    Args:
      labels: the class of each clip.
      classes: how many there are.

    Returns:
      float32, `n / (classes * count)` of each class (scikit-learn's 'balanced'), so that the mean
      over the clips is 1 where every class has one; 0 for a class without a clip.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)
