"""Layers written out in NumPy, which take their weights from the modules that are checked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

EPSILON = 1e-5  # of a batch normalisation, in Flax and PyTorch too


def jumbled(module, seed=0) -> Any:
    """Give every parameter a value of its own, also those that start at 0 or 1."""
    rng = np.random.default_rng(seed)
    params = nnx.state(module, nnx.Param)
    moved = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), x.dtype), params)
    nnx.update(module, moved)
    return module


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def conv(x, kernel, bias=0.0):
    """Stride 1, padding `k // 2`; a kernel without an axis of outputs is depthwise."""
    kernel = np.asarray(kernel, np.float64)
    reach = [size // 2 for size in kernel.shape[:3]]
    padded = np.pad(np.asarray(x, np.float64), [(0, 0), *((r, r) for r in reach), (0, 0)])
    _, t, h, w, _ = x.shape
    total = 0.0
    for a, b, c in np.ndindex(*kernel.shape[:3]):
        window = padded[:, a : a + t, b : b + h, c : c + w]
        total += window * kernel[a, b, c] if kernel.ndim == 4 else window @ kernel[a, b, c]
    return total + np.asarray(bias)


def batch_norm(x, module):
    """By the batch's own statistics."""
    mean = x.mean(axis=(0, 1, 2, 3))
    variance = ((x - mean) ** 2).mean(axis=(0, 1, 2, 3))
    scale, bias = np.asarray(module.scale), np.asarray(module.bias)
    return (x - mean) / np.sqrt(variance + EPSILON) * scale + bias


def conv_bn(x, module):
    return batch_norm(conv(x, module.conv.kernel[...]), module.norm)


def chain(x, module, *, last_relu=False):
    """ReLU after every layer, after the last one only on request."""
    layers = list(module.layers)
    for layer in layers:
        x = conv_bn(x, layer)
        if last_relu or layer is not layers[-1]:
            x = relu(x)
    return x


def kernel_sizes(module):
    return [layer.conv.kernel.shape[:3] for layer in module.layers]
