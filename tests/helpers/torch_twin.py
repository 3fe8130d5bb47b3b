"""The paper's network in PyTorch, written a second time from the paper, to check ours against.

Section and equation numbers are the paper's; maps are `[b, c, t, h, w]`. It needs PyTorch alone.
`MSRes3D(3)` is the full size, `MSRes3D(3, attention=False, rc=None, fusion=False)` the plain
3D-ResNet50.
"""

# pyright: reportMissingImports=false

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Size = tuple[int, int, int]
DIRECTIONS: tuple[Size, ...] = ((1, 1, 3), (1, 3, 1), (3, 1, 1))  # transverse, longitudinal, radial
LONG: tuple[Size, ...] = ((1, 1, 7), (1, 7, 1), (7, 1, 1))  # in place of 7x7x7
POINT: Size = (1, 1, 1)
CUBE: Size = (3, 3, 3)


@dataclasses.dataclass(frozen=True)
class Style:
    """What section 3.3.2 leaves open; the words are those of the project's configuration."""

    reduction: int = 4
    restore: str = "last"
    chain: str = "factorised"
    weights: str = "softmax"


class ConvBN(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, c_in, c_out, kernel: Size, stride: int | Size = 1, *, groups=1, relu=True):
        super().__init__()
        t, h, w = kernel
        padding = (t // 2, h // 2, w // 2)
        self.conv = nn.Conv3d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm3d(c_out)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return torch.relu(y) if self.relu else y


class Attention(nn.Module):
    """Section 3.3.1: weigh the time steps, then the positions."""

    def __init__(self):
        super().__init__()
        self.time = nn.Conv1d(2, 1, 3, padding=1)
        self.space = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        of_time = torch.stack([x.mean((1, 3, 4)), x.amax((1, 3, 4))], 1)
        x = x * self.time(of_time).sigmoid()[:, :, :, None, None]
        of_space = torch.stack([x.mean((1, 2)), x.amax((1, 2))], 1)
        return x * self.space(of_space).sigmoid()[:, :, None]


class Stem(nn.Module):
    """Block 1, the attention after it, and the max-pool."""

    def __init__(self, channels, width, attention: bool):
        super().__init__()
        self.conv = ConvBN(channels, width, (3, 7, 7), (1, 2, 2))
        self.attention = Attention() if attention else nn.Identity()
        self.pool = nn.MaxPool3d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.attention(self.conv(x)))


class Unit(nn.Module):
    """A residual unit: two 3x3x3 ('basic'), or 1x1x1, 3x3x3 and 1x1x1 ('bottleneck')."""

    def __init__(self, kind: str, c_in, width, c_out, stride):
        super().__init__()
        if kind == "basic":
            layers = [
                ConvBN(c_in, width, CUBE, stride),
                ConvBN(width, c_out, CUBE, relu=False),
            ]
        else:
            layers = [
                ConvBN(c_in, width, POINT),
                ConvBN(width, width, CUBE, stride),
                ConvBN(width, c_out, POINT, relu=False),
            ]
        self.body = nn.Sequential(*layers)
        same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if same else ConvBN(c_in, c_out, POINT, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def residual_block(kind: str, c_in, width, c_out, depth, stride) -> nn.Sequential:
    first = Unit(kind, c_in, width, c_out, stride)
    return nn.Sequential(first, *(Unit(kind, c_out, width, c_out, 1) for _ in range(depth - 1)))


def closed(c, m, sizes: Sequence[Size], style: Style, *, depthwise=False) -> list[ConvBN]:
    """Convolutions at m channels; the last of them, or one more, has c and no ReLU."""
    if depthwise or style.restore == "pointwise":
        groups = m if depthwise else 1
        layers = [ConvBN(m, m, size, groups=groups) for size in sizes]
        return [*layers, ConvBN(m, c, POINT, relu=False)]
    *before, last = sizes
    return [*(ConvBN(m, m, size) for size in before), ConvBN(m, c, last, relu=False)]


class Fusion(nn.Module):
    """Eq. (3.8), (3.9): K = alpha X1 + beta X2 + ..., the last of them the global average."""

    def __init__(self, count: int, normalisation: str):
        super().__init__()
        self.weights = nn.Parameter(torch.full((count,), 1 / count))
        self.normalisation = normalisation

    def forward(self, x: Tensor, maps: list[Tensor]) -> Tensor:
        weights = self.weights.softmax(0) if self.normalisation == "softmax" else self.weights
        average = x.mean((2, 3, 4), keepdim=True)
        total = weights[-1] * average
        for weight, each in zip(weights, maps):
            total = total + weight * each
        return total


class RC(nn.Module):
    """Section 3.3.2: 1x1x1; kernels once; the same kernels twice; the global average."""

    def __init__(self, c, style: Style, kernels: Sequence[Size], *, depthwise=False):
        super().__init__()
        m = c // style.reduction
        once, twice = (
            nn.Sequential(
                ConvBN(c, m, POINT),
                *closed(c, m, [*kernels] * times, style, depthwise=depthwise),
            )
            for times in (1, 2)
        )
        point = nn.Sequential(ConvBN(c, c, POINT, relu=False))
        self.branches = nn.ModuleList([point, once, twice])
        self.fuse = Fusion(4, style.weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(x, [branch(x) for branch in self.branches])


def rc1(c, style: Style) -> RC:
    """3x3x3; two of them in place of 5x5x5."""
    return RC(c, style, [CUBE])


def rc2(c, style: Style) -> RC:
    """A chain in place of 7x7x7; two in place of 9x9x9."""
    return RC(c, style, LONG, depthwise=style.chain == "depthwise")


class RC3(nn.Module):
    """Section 3.3.2: two trunks with three directions each, a 1x1x1 and the global average."""

    def __init__(self, c, style: Style):
        super().__init__()
        m = c // style.reduction
        groups = m if style.chain == "depthwise" else 1
        chain = [ConvBN(m, m, size, groups=groups) for size in DIRECTIONS]
        self.trunk1 = nn.Sequential(ConvBN(c, m, POINT), *chain)
        self.trunk2 = nn.Sequential(ConvBN(c, m, POINT))
        self.tails1, self.tails2 = (
            nn.ModuleList(nn.Sequential(*closed(c, m, [size], style)) for size in DIRECTIONS)
            for _ in range(2)
        )
        self.point = nn.Sequential(ConvBN(c, c, POINT, relu=False))
        self.fuse = Fusion(8, style.weights)

    def forward(self, x: Tensor) -> Tensor:
        large, small = self.trunk1(x), self.trunk2(x)
        x1_to_x3 = [tail(large) for tail in self.tails1]
        x4_to_x6 = [tail(small) for tail in self.tails2]
        return self.fuse(x, [*x1_to_x3, *x4_to_x6, self.point(x)])


class CAM(nn.Module):
    """Eq. (3.10) of the global average and of the global maximum, summed: the weights alone."""

    def __init__(self, c, reduction):
        super().__init__()
        self.average, self.maximum = (
            nn.Sequential(
                ConvBN(c, c // reduction, POINT), ConvBN(c // reduction, c, POINT, relu=False)
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        of = (2, 3, 4)
        average, maximum = x.mean(of, keepdim=True), x.amax(of, keepdim=True)
        return (self.average(average) + self.maximum(maximum)).sigmoid()


class AFFA(nn.Module):
    """Eq. (3.11) twice, figure 8: the second CAM sees the first Z."""

    def __init__(self, c, reduction):
        super().__init__()
        self.cam1, self.cam2 = CAM(c, reduction), CAM(c, reduction)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        z = torch.lerp(y, x, self.cam1(x + y))
        return torch.lerp(y, x, self.cam2(z))


class Up(nn.Module):
    """Section 3.3.3: transposed convolution to the size of another map."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv = nn.ConvTranspose3d(c_in, c_out, 2, stride=2, bias=False)
        self.bn = nn.BatchNorm3d(c_out)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        t, h, w = like.shape[2:]
        return self.bn(self.conv(x)[:, :, :t, :h, :w])


class Head(nn.Module):
    """Section 3.4: two fully connected layers on the global average."""

    def __init__(self, c, hidden, classes):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, hidden), nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x.mean((2, 3, 4)))))


class MSRes3D(nn.Module):
    """Figure 3: logits `[b, heads, classes]`, heads on O1 (X5), O2, O3 and O4."""

    def __init__(
        self,
        classes,
        *,
        channels=3,
        block="bottleneck",
        width=64,
        depths=(3, 4, 6, 3),
        attention=True,
        rc: Style | None = Style(),
        fusion=True,
        cascade=False,
        cam_reduction=4,
        hidden=256,
    ):
        super().__init__()
        expansion = 4 if block == "bottleneck" else 1
        c2, c3, c4, c5 = (width * 2**stage * expansion for stage in range(4))
        self.stem = Stem(channels, width, attention)
        self.block2 = residual_block(block, width, width, c2, depths[0], 1)
        self.block3 = residual_block(block, c2, width * 2, c3, depths[1], 2)
        self.block4 = residual_block(block, c3, width * 4, c4, depths[2], 2)
        self.block5 = residual_block(block, c4, width * 8, c5, depths[3], 2)
        self.rc1 = rc1(c2, rc) if rc else nn.Identity()
        self.rc2 = rc2(c3, rc) if rc else nn.Identity()
        self.rc3 = RC3(c4, rc) if rc else nn.Identity()
        self.fusion, self.cascade = fusion, cascade
        if fusion:
            self.up5, self.affa4 = Up(c5, c4), AFFA(c4, cam_reduction)
            self.up4, self.affa3 = Up(c4, c3), AFFA(c3, cam_reduction)
            self.up3, self.affa2 = Up(c3, c2), AFFA(c2, cam_reduction)
        outputs = (c5, c4, c3, c2) if fusion else (c5,)
        self.heads = nn.ModuleList(Head(c, hidden, classes) for c in outputs)

    def forward(self, x: Tensor) -> Tensor:
        x2 = self.rc1(self.block2(self.stem(x)))
        x3 = self.rc2(self.block3(x2))
        x4 = self.rc3(self.block4(x3))
        x5 = self.block5(x4)
        outputs = [x5]
        if self.fusion:
            o2 = self.affa4(self.up5(x5, x4), x4)
            o3 = self.affa3(self.up4(o2 if self.cascade else x4, x3), x3)
            o4 = self.affa2(self.up3(o3 if self.cascade else x3, x2), x2)
            outputs += [o2, o3, o4]
        return torch.stack([head(o) for head, o in zip(self.heads, outputs)], 1)


class STSTNet(nn.Module):
    """The small network of the field, as its authors' code has it: logits `[b, 1, classes]`."""

    def __init__(self, classes, *, side=28, dropout=0.5):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(3, c, 3, padding=2) for c in (3, 5, 8))
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(c) for c in (3, 5, 8))
        self.maxpool, self.avgpool = nn.MaxPool2d(3, 3, padding=1), nn.AvgPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(16 * (((side + 1) // 3 + 1) // 2) ** 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(2)  # one flow a clip
        streams = [(self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)]
        pooled = [self.dropout(self.maxpool(bn(conv(x).relu()))) for conv, bn in streams]
        return self.fc(self.avgpool(torch.cat(pooled, 1)).flatten(1))[:, None]
