"""The loss and the optimiser against PyTorch's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mser_jax.train import losses, optimizer

pytestmark = pytest.mark.heavy
torch = pytest.importorskip("torch", reason="needs pip install torch")

RATE = 1e-2


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_weighted_cross_entropy_and_its_gradient():
    logits, labels = 3 * normal(20, 4, 3), np.random.default_rng(1).integers(3, size=20)
    there = np.random.default_rng(2).random(20) < 0.7
    weights = losses.balanced_class_weights(labels[there], 3)

    def total(logits):
        made = losses.head_losses(
            logits, jnp.asarray(labels), jnp.asarray(there), jnp.asarray(weights)
        )
        return jnp.sum(made), made

    gradient, ours = jax.grad(total, has_aux=True)(jnp.asarray(logits))
    theirs = torch.tensor(logits, requires_grad=True)
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights))
    of_heads = [
        criterion(theirs[:, head][torch.tensor(there)], torch.tensor(labels)[torch.tensor(there)])
        for head in range(4)
    ]
    torch.stack(of_heads).sum().backward()
    np.testing.assert_allclose(ours, [loss.item() for loss in of_heads], rtol=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_steps_of_adam_and_of_adamw(decay):
    params: Any = {"kernel": normal(5, 3), "bias": normal(1, 3, seed=1)}
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    groups = [
        {"params": [theirs["kernel"]], "weight_decay": decay},
        {"params": [theirs["bias"]], "weight_decay": 0.0},
    ]
    torchs = torch.optim.AdamW(groups, lr=RATE)
    transformation = optimizer.make("adam", decay)
    state = transformation.init(params)
    for step in range(5):
        gradients = {name: normal(*p.shape, seed=step + 2) for name, p in params.items()}
        updates, state = transformation.update(gradients, state, params)
        scaled = jax.tree.map(lambda update: -RATE * update, updates)
        params = optax.apply_updates(params, scaled)
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(gradients[name])
        torchs.step()
    for name, parameter in theirs.items():
        np.testing.assert_allclose(params[name], parameter.detach().numpy(), rtol=1e-5, atol=1e-6)
