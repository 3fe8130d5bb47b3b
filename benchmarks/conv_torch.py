"""PyTorch's side of benchmarks/conv.py."""

# pyright: reportMissingImports=false

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch

Run = Callable[[], object]

torch.set_num_threads(len(os.sched_getaffinity(0)))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def layer(
    x: np.ndarray, weights: np.ndarray, strides: Sequence[int], dtype: str
) -> tuple[Run, Run]:
    """Create the runs of a convolution: forward, and forward with gradients.

    The gradient with respect to the input is left out for the first layer (3 channels), which does
    not need it.

    Args:
      x: `[b, t, h, w, c_in]`.
      weights: `[kt, kh, kw, c_in, c_out]`.
      strides: Strides of time, height and width.
      dtype: Name of the type of all tensors.
    """
    torch_dtype = getattr(torch, dtype)
    inputs = torch.tensor(np.moveaxis(x, -1, 1).copy(), device=DEVICE, dtype=torch_dtype)
    kernel = torch.tensor(weights.transpose(4, 3, 0, 1, 2).copy(), device=DEVICE, dtype=torch_dtype)
    variables = [kernel] if x.shape[-1] == 3 else [inputs, kernel]
    for tensor in variables:
        tensor.requires_grad_()
    padding = tuple(size // 2 for size in weights.shape[:3])

    def convolve():
        return torch.nn.functional.conv3d(inputs, kernel, stride=strides, padding=padding)

    cotangent = torch.randn_like(convolve())

    def forward() -> None:
        with torch.no_grad():
            convolve()
        _wait()

    def forward_and_backward() -> None:
        torch.autograd.grad(convolve(), variables, cotangent)
        _wait()

    return forward, forward_and_backward


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
