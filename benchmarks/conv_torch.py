"""PyTorch's side of benchmarks/conv.py."""

# pyright: reportMissingImports=false

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.heavy import torch_twin

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


def epoch(switches: dict[str, Any], shape: Sequence[int], steps: int, dtype: str) -> Run:
    """Steps of the twin, each with its loss, gradients and Adam.

    Args:
      switches: of `torch_twin.MSRes3D`.
      shape: `[b, t, h, w, c]` of the clips.
      steps: how many.
      dtype: 'float32', or 'bfloat16' by autocast.
    """
    model = torch_twin.MSRes3D(3, **switches).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), 1e-5)
    clips = torch.randn(*shape, device=DEVICE).movedim(-1, 1).contiguous()
    labels = torch.zeros(shape[0], dtype=torch.long, device=DEVICE)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(clips)
        losses = [torch.nn.functional.cross_entropy(head, labels) for head in logits.unbind(1)]
        torch.stack(losses).sum().backward()
        optimizer.step()

    def run() -> None:
        for _ in range(steps):
            step()
        _wait()

    return run


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
