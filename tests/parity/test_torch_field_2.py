"""RCN-A and CapsuleNet against PyTorch twins: same weights, logits, gradients, statistics."""

# pyright: reportMissingImports=false

import jax
import numpy as np
import pytest

from mser_jax.models.baselines.capsulenet import CapsuleNet
from mser_jax.models.baselines.rcn import RCN

pytest.importorskip("torch", reason="needs pip install torch")

import torch
from torch import nn
from torch.nn import functional

from helpers import torch_pairs as pairs
from helpers import torch_transfer as transfer

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("unoptimised")]


class ConvBN(nn.Module):
    """Convolution without bias, batch normalisation, ReLU; padded unless told otherwise."""

    def __init__(self, c_in, c_out, size, stride=1, *, padded=True, relu=True):
        super().__init__()
        padding = size // 2 if padded else 0
        self.conv = nn.Conv2d(c_in, c_out, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        self.relu = relu

    def forward(self, x):
        y = self.bn(self.conv(x))
        return functional.relu(y) if self.relu else y


class Recurrent(nn.Module):
    def __init__(self, maps):
        super().__init__()
        self.feed, self.recurrent = ConvBN(maps, maps, 1), ConvBN(maps, maps, 3)

    def forward(self, x):
        once = self.recurrent(x + self.feed(x))
        return self.recurrent(x + once)


class RCNTwin(nn.Module):
    """Attention of the classifier's weights over the pooled first layer, on the pooled second."""

    def __init__(self, classes, maps):
        super().__init__()
        self.conv = ConvBN(3, maps, 5, padded=False)
        self.rcl = Recurrent(maps)
        self.fc = nn.Linear(25 * maps, classes)

    def forward(self, x):
        x = functional.max_pool2d(self.conv(x.squeeze(2)), 2)
        y = functional.adaptive_avg_pool2d(functional.max_pool2d(self.rcl(x), 2), 5)
        weights = self.fc.weight.unflatten(1, (5, 5, -1)).permute(0, 3, 1, 2)  # rows, then channels
        evidence = (functional.adaptive_avg_pool2d(x, 5)[:, None] * weights[None]).mean(2)
        least, most = evidence.amin((2, 3), True), evidence.amax((2, 3), True)
        y = y * ((evidence - least) / (most - least)).mean(1, keepdim=True)
        return self.fc(y.permute(0, 2, 3, 1).flatten(1))[:, None]


class Unit(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.body = nn.Sequential(
            ConvBN(c_in, c_out, 3, stride), ConvBN(c_out, c_out, 3, relu=False)
        )
        same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if same else ConvBN(c_in, c_out, 1, stride, relu=False)

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))


class Routing(nn.Module):
    """From 8 numbers a capsule to 16 a class; couplings that no gradient passes."""

    def __init__(self, capsules, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(16, capsules, 8, classes))

    def forward(self, x):
        votes = torch.einsum("bik,dikn->bnid", x, self.weight)
        agreement = torch.zeros(votes.shape[:3], dtype=x.dtype)
        with torch.no_grad():
            for _ in range(2):
                agreement += (self.gathered(votes, agreement)[:, :, None] * votes).sum(-1)
        return self.gathered(votes, agreement)

    def gathered(self, votes, agreement):
        return squash((agreement.softmax(1)[..., None] * votes).sum(2))


def squash(x):
    length = x.norm(dim=-1, keepdim=True)
    return length**2 / (1 + length**2) * (x / length)


class CapsuleTwin(nn.Module):
    def __init__(self, classes, side, width):
        super().__init__()
        self.stem = ConvBN(3, width, 7)
        sizes = [(width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
        self.stages = nn.Sequential(
            *(nn.Sequential(Unit(i, o, stride), Unit(o, o, 1)) for i, o, stride in sizes)
        )
        self.conv = nn.Conv2d(4 * width, 4 * width, 3)
        self.primary = nn.Conv2d(4 * width, 32 * 8, 3, 2)
        left = self.primary(self.conv(self.stages(self.stem(torch.zeros(2, 3, side, side)))))
        self.classes = Routing(left[0].numel() // 8, classes)

    def forward(self, x):
        x = self.primary(functional.relu(self.conv(self.stages(self.stem(x.squeeze(2))))))
        capsules = squash(x.permute(0, 2, 3, 1).reshape(len(x), -1, 8))
        return self.classes(capsules).norm(dim=-1)[:, None]


NETWORKS = {
    "RCN": pairs.Pair(
        lambda rngs: RCN(3, maps=6, rngs=rngs), lambda: RCNTwin(3, 6), ((1, 28, 28, 3),)
    ),
    "RCN of few pixels": pairs.Pair(
        lambda rngs: RCN(4, maps=5, rngs=rngs), lambda: RCNTwin(4, 5), ((1, 17, 17, 3),)
    ),
    "CapsuleNet": pairs.Pair(
        lambda rngs: CapsuleNet(3, width=3, rngs=rngs),
        lambda: CapsuleTwin(3, 28, 3),
        ((1, 28, 28, 3),),
    ),
}


@pytest.fixture
def twice(monkeypatch):
    """`check_statistics`, where a normalisation that is used twice keeps 0.9 of 0.9."""

    def check(theirs, before, moved, counts, train):
        before = {name: value for name, _, value in transfer.pairs(theirs, before)}
        for name, tensor, value in transfer.pairs(theirs, moved):
            expected = tensor.numpy()
            if train and name.endswith("running_var"):
                kept = (0.81 if "recurrent" in name else 0.9) * before[name]
                count = counts[name.rpartition(".")[0]]
                expected = kept + (expected - kept) * (count - 1) / count
            pairs.near(name, value, expected)
            assert train != np.array_equal(value, before[name])

    monkeypatch.setattr(pairs, "check_statistics", check)


@pytest.mark.usefixtures("twice")
@pytest.mark.parametrize("mode", ["training", "masked", "evaluation"])
@pytest.mark.parametrize("dtype", pairs.TOLERANCE)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_its_twin(name, dtype, mode):
    with jax.enable_x64(dtype == "float64"):
        pairs.check(NETWORKS[name], mode, dtype, shared_scale=dtype == "float32")
