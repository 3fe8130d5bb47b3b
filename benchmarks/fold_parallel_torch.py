"""PyTorch's side of benchmarks/fold_parallel.py: a loop over the folds, and `torch.func`."""

# pyright: reportMissingImports=false, reportCallIssue=false

import copy
import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from mser_jax.data.augment import Clips
from tests.helpers import torch_twin

Run = Callable[[], object]

torch.set_num_threads(len(os.sched_getaffinity(0)))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RATE = 1e-5


class OneStream(nn.Module):
    """The small network with its three streams as one of 16 filters, as we compute them."""

    def __init__(self, classes: int, side: int):
        super().__init__()
        streams = torch_twin.STSTNet(classes, side=side)
        self.conv, self.bn = nn.Conv2d(3, 16, 3, padding=2), nn.BatchNorm2d(16)
        self.maxpool, self.avgpool = streams.maxpool, streams.avgpool
        self.dropout, self.fc = streams.dropout, streams.fc

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits `[b, 1, classes]` of clips `[b, 3, 1, h, w]`."""
        pooled = self.dropout(self.maxpool(self.bn(self.conv(x.squeeze(2)).relu())))
        return self.fc(self.avgpool(pooled).flatten(1))[:, None]


def ways(clips: Clips, folds: int, steps: int, batch: int) -> dict[str, Run]:
    """Create one run for each way to train all folds on random batches.

    Args:
      clips: Clips with pixels `[n, 1, h, w, 3]`.
      folds: Number of folds.
      steps: Number of steps per fold.
      batch: Clips per step.
    """
    torch.manual_seed(0)
    pixels = torch.tensor(np.moveaxis(np.asarray(clips.pixels), -1, 1).copy(), device=DEVICE)
    labels = torch.tensor(np.asarray(clips.labels), device=DEVICE).long()
    side, classes = pixels.shape[-1], int(labels.max()) + 1
    order = torch.stack([torch.randperm(len(labels)) for _ in range(folds)])
    order = order.view(folds, steps, batch).to(DEVICE)

    def authors() -> nn.Module:
        return torch_twin.STSTNet(classes, side=side).to(DEVICE)

    def one_stream() -> nn.Module:
        return OneStream(classes, side).to(DEVICE).to(memory_format=torch.channels_last)

    channels_last = pixels.squeeze(2).contiguous(memory_format=torch.channels_last).unsqueeze(2)
    return {
        "PyTorch, fold by fold": _loop(authors, pixels, labels, order),
        "PyTorch, fold by fold, streams as one, channels last": _loop(
            one_stream, channels_last, labels, order
        ),
        "PyTorch, torch.func": _vmap_folds(authors, pixels, labels, order),
    }


def _loop(make: Callable[[], nn.Module], pixels: Tensor, labels: Tensor, order: Tensor) -> Run:
    models = [make() for _ in order]
    optimizers = [torch.optim.Adam(model.parameters(), RATE, fused=True) for model in models]

    def run() -> None:
        for model, optimizer, batches in zip(models, optimizers, order):
            for entries in batches:
                optimizer.zero_grad()
                logits = model(pixels[entries])[:, 0]
                nn.functional.cross_entropy(logits, labels[entries]).backward()
                optimizer.step()
        _wait()

    return run


def _vmap_folds(
    make: Callable[[], nn.Module], pixels: Tensor, labels: Tensor, order: Tensor
) -> Run:
    """Create a run of all folds at once over stacked parameters, PyTorch's ensembling."""
    models = [make() for _ in order]
    params, buffers = torch.func.stack_module_state(models)
    params = {name: value.detach() for name, value in params.items()}
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss(params: dict, buffers: dict, x: Tensor, y: Tensor) -> Tensor:
        logits = torch.func.functional_call(skeleton, (params, buffers), (x,))[:, 0]
        return nn.functional.cross_entropy(logits, y)

    step = torch.func.vmap(torch.func.grad(loss), randomness="different")
    optimizer = torch.optim.Adam(params.values(), RATE, fused=True)

    def run() -> None:
        for entries in order.unbind(1):
            gradients = step(params, buffers, pixels[entries], labels[entries])
            for name, value in params.items():
                value.grad = gradients[name]
            optimizer.step()
        _wait()

    return run


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
