"""The training loss (section 3.4)."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def head_losses(
    logits: Float[Array, "b k n"], labels: Int[Array, " b"], mask: Bool[Array, " b"]
) -> Float[Array, " k"]:
    """The cross-entropy of each head, averaged over the clips of the batch; 0 when it is empty."""
    targets = jnp.broadcast_to(labels[:, None], logits.shape[:2])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.sum(losses * mask[:, None], axis=0) / jnp.maximum(jnp.sum(mask), 1)
