"""PyTorch's side of benchmarks/megc2019.py: the authors' loop, and the fastest we found."""

# pyright: reportMissingImports=false, reportCallIssue=false

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.fold_parallel_torch import DEVICE, OneStream
from mser_jax.data.augment import Clips
from mser_jax.data.folds import Fold
from tests.helpers import torch_twin

Run = Callable[[], object]


def ways(
    clips: Clips, folds: Sequence[Fold], batch: int, epochs: int, rate: float
) -> dict[str, Run]:
    """Create a run for each way to train all folds; it continues where the last ended.

    Args:
      clips: Clips with pixels `[n, 1, h, w, 3]`.
      folds: Training and test clips of each fold.
      batch: Maximum number of clips per step.
      epochs: Number of epochs of one run.
      rate: Learning rate of Adam.
    """
    torch.manual_seed(0)
    pixels = np.asarray(clips.pixels).squeeze(1)
    images = torch.tensor(pixels).float().permute(0, 3, 1, 2)  # The layout of the authors' code.
    labels = torch.tensor(np.asarray(clips.labels)).long()
    dataset = TensorDataset(images, labels)
    side, classes = images.shape[-1], int(labels.max()) + 1

    def authors(fold: Fold) -> Callable[[], None]:
        model = torch_twin.STSTNet(classes, side=side).to(DEVICE)
        adam = torch.optim.Adam(model.parameters(), rate)
        train, test = (
            DataLoader(TensorDataset(*dataset[indices]), batch_size=batch)
            for indices in (fold.train, fold.test)
        )

        def epoch() -> None:
            model.train()
            _loop(model, train, adam)
            model.eval()
            _loop(model, test)

        return epoch

    def fast(fold: Fold) -> Callable[[], None]:
        model = OneStream(classes, side).to(DEVICE).to(memory_format=torch.channels_last)
        adam = torch.optim.Adam(model.parameters(), rate, fused=True)
        x = images[fold.train].contiguous(memory_format=torch.channels_last)
        x, y = x[:, :, None].to(DEVICE), labels[fold.train].to(DEVICE)

        def epoch() -> None:
            for entries in torch.randperm(len(y)).tensor_split(-(-len(y) // batch)):
                adam.zero_grad()
                logits = model(x[entries])[:, 0]
                nn.functional.cross_entropy(logits, y[entries]).backward()
                adam.step()

        return epoch

    starts = {
        "PyTorch, as published": authors,
        "PyTorch, streams as one, channels last, fused Adam": fast,
    }
    return {
        name: _run_all_folds([start(fold) for fold in folds], epochs)
        for name, start in starts.items()
    }


def _run_all_folds(fold_epochs: Sequence[Callable[[], None]], epochs: int) -> Run:
    def run() -> None:
        for epoch in fold_epochs:
            for _ in range(epochs):
                epoch()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run


def _loop(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    adam: torch.optim.Optimizer | None = None,
) -> tuple[float, int]:
    """Run the authors' epoch of training, or of testing if there is no optimizer.

    Like their code, it records gradients in the test too, and reads the loss of every batch.
    """
    total, correct = 0.0, 0
    for images, labels in batches:
        if adam is not None:
            adam.zero_grad()
        x, y = images.to(DEVICE), labels.to(DEVICE)
        logits = model(x[:, :, None])[:, 0]
        loss = nn.functional.cross_entropy(logits, y)
        if adam is not None:
            loss.backward()
            adam.step()
        total += loss.item() * x.size(0)
        correct += int((torch.max(logits, 1)[1] == y).sum().item())
    return total, correct
