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
    """A convolution forward, and forward and backward; operands in the layout of ours.

    The gradient by the clips themselves (three channels) is left out, as nothing needs it.
    """
    kind = getattr(torch, dtype)
    inputs = torch.tensor(np.moveaxis(x, -1, 1).copy(), device=DEVICE, dtype=kind)
    kernel = torch.tensor(weights.transpose(4, 3, 0, 1, 2).copy(), device=DEVICE, dtype=kind)
    moving = [kernel] if x.shape[-1] == 3 else [inputs, kernel]
    for tensor in moving:
        tensor.requires_grad_()
    padding = tuple(size // 2 for size in weights.shape[:3])

    def convolve():
        return torch.nn.functional.conv3d(inputs, kernel, stride=strides, padding=padding)

    cotangent = torch.randn_like(convolve())

    def forward() -> None:
        with torch.no_grad():
            convolve()
        _wait()

    def both() -> None:
        torch.autograd.grad(convolve(), moving, cotangent)
        _wait()

    return forward, both


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
