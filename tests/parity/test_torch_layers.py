"""The layers against PyTorch: same weights, same outputs, same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mser_jax.models.layers import BatchNorm
from mser_jax.models.ops import conv

pytestmark = pytest.mark.heavy
torch = pytest.importorskip("torch", reason="needs pip install torch")

RTOL = 1e-4  # of the largest entry, in float32


def close(ours, theirs):
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=RTOL * np.abs(theirs).max())


def to_torch(x):
    """`[b, t, h, w, c]` to PyTorch's `[b, c, t, h, w]`, with a gradient."""
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1).copy(), requires_grad=True)


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def compare(function, theirs, x, kernel, torch_kernel, kernel_back):
    """Outputs, and the gradients of a weighted sum of them with respect to both arguments."""
    out, pull = jax.vjp(function, jnp.asarray(x), jnp.asarray(kernel))
    x_torch = to_torch(x)
    out_torch = theirs(x_torch, torch_kernel)
    close(out, from_torch(out_torch))
    weights = normal(*out.shape, seed=2)
    out_torch.backward(torch.tensor(np.moveaxis(weights, -1, 1).copy()))
    x_gradient, kernel_gradient = pull(jnp.asarray(weights))
    close(x_gradient, from_torch(x_torch.grad))
    close(kernel_gradient, kernel_back(torch_kernel.grad.numpy()))


@pytest.mark.parametrize(
    ("size", "strides", "c_in", "c_out"),
    [
        ((3, 7, 7), (1, 2, 2), 3, 8),
        ((3, 7, 7), (1, 2, 2), 3, 64),
        ((3, 3, 3), (1, 1, 1), 8, 8),
        ((3, 3, 3), (2, 2, 2), 8, 16),
        ((1, 1, 1), (2, 2, 2), 8, 16),
        ((1, 1, 7), (1, 1, 1), 8, 8),
        ((7, 1, 1), (1, 1, 1), 8, 8),
    ],
)
def test_convolution(size, strides, c_in, c_out):
    kernel = normal(*size, c_in, c_out, seed=1)
    torch_kernel = torch.tensor(kernel.transpose(4, 3, 0, 1, 2).copy(), requires_grad=True)
    padding = tuple(k // 2 for k in size)
    compare(
        lambda x, k: conv.conv3d(x, k, strides),
        lambda x, k: torch.nn.functional.conv3d(x, k, stride=strides, padding=padding),
        normal(2, 5, 10, 9, c_in),
        kernel,
        torch_kernel,
        lambda gradient: gradient.transpose(2, 3, 4, 1, 0),
    )


def test_transposed_convolution():
    kernel = normal(2, 2, 2, 6, 4, seed=1)
    torch_kernel = torch.tensor(kernel.transpose(3, 4, 0, 1, 2).copy(), requires_grad=True)
    compare(
        conv.conv_transpose3d,
        lambda x, k: torch.nn.functional.conv_transpose3d(x, k, stride=2),
        normal(2, 2, 5, 3, 6),
        kernel,
        torch_kernel,
        lambda gradient: gradient.transpose(2, 3, 4, 0, 1),
    )


def test_max_pool():
    x = normal(2, 5, 9, 10, 3)
    out, pull = jax.vjp(conv.max_pool3d, jnp.asarray(x))
    x_torch = to_torch(x)
    out_torch = torch.nn.functional.max_pool3d(x_torch, 3, 2, 1)
    close(out, from_torch(out_torch))
    weights = normal(*out.shape, seed=2)
    out_torch.backward(torch.tensor(np.moveaxis(weights, -1, 1).copy()))
    close(pull(jnp.asarray(weights))[0], from_torch(x_torch.grad))


def test_batch_norm_in_training_and_after():
    x = 3 * normal(4, 2, 3, 3, 5) + 1
    ours, theirs = BatchNorm(5), torch.nn.BatchNorm3d(5)
    close(ours(jnp.asarray(x)), from_torch(theirs(to_torch(x))))
    close(ours.mean[...], theirs.running_mean)
    # PyTorch keeps the variance with n - 1 in the denominator, ours with n.
    count = x.size / 5
    moved = (np.asarray(ours.var[...]) - 0.9) * count / (count - 1) + 0.9
    close(moved, theirs.running_var)
