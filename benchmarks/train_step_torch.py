"""PyTorch's side of benchmarks/train_step.py."""

# pyright: reportMissingImports=false

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tests.helpers import torch_twin

Run = Callable[[], object]

torch.set_num_threads(len(os.sched_getaffinity(0)))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def epoch(switches: dict[str, Any], shape: Sequence[int], steps: int, dtype: str) -> Run:
    """Create a run of training steps of the twin: loss, gradients and Adam.

    Args:
      switches: Arguments of `torch_twin.MSRes3D`.
      shape: Shape of the clips, `[b, t, h, w, c]`.
      steps: Number of steps.
      dtype: 'float32', or 'bfloat16' for autocast.
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
