"""The 3-D residual network (section 3.3.1): its stem (block 1) and its blocks 2 to 5."""

import jax
from flax import nnx

from mser_jax.models.attention import TemporalSpatialAttention
from mser_jax.models.layers import CUBE, POINT, Chain, ConvBN, LoweringModule, Map, Mask
from mser_jax.models.ops import conv


class Stem(LoweringModule):
    """Block 1: a 3x7x7 convolution, attention, and a 3x3x3 max-pool of stride 2."""

    def __init__(
        self, c_in: int, c_out: int, *, attention: bool, temporal: bool = True, rngs: nnx.Rngs
    ):
        self.conv = ConvBN(c_in, c_out, (3, 7, 7), (1, 2, 2), temporal=temporal, rngs=rngs)
        self.attention = (
            TemporalSpatialAttention(temporal=temporal, rngs=rngs) if attention else None
        )

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Map `[b, t, h, w, c]` to `[b, t/2, h/4, w/4, c_out]`."""
        x = self.conv(x, mask)
        if self.attention is not None:
            x = self.attention(x)
        return conv.max_pool3d(x, self.lowering)


class Basic(nnx.Module):
    """Two 3x3x3 convolutions and a shortcut. The paper's text counts two layers per unit."""

    expansion = 1

    def __init__(
        self, c_in: int, width: int, stride: int, *, temporal: bool = True, rngs: nnx.Rngs
    ):
        strides = (stride, stride, stride)
        self.body = Chain(
            [
                ConvBN(c_in, width, CUBE, strides, temporal=temporal, rngs=rngs),
                ConvBN(width, width, CUBE, relu=False, temporal=temporal, rngs=rngs),
            ]
        )
        self.shortcut = _shortcut(c_in, width, stride, rngs)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Map `[b, t, h, w, c_in]` to `[b, t/stride, h/stride, w/stride, width]`."""
        return _residual(self, x, mask)


class Bottleneck(nnx.Module):
    """1x1x1, 3x3x3 and 1x1x1 convolutions and a shortcut: the unit of a ResNet50.

    The paper calls its network a 3D-ResNet50.
    """

    expansion = 4

    def __init__(
        self, c_in: int, width: int, stride: int, *, temporal: bool = True, rngs: nnx.Rngs
    ):
        c_out = width * self.expansion
        strides = (stride, stride, stride)
        self.body = Chain(
            [
                ConvBN(c_in, width, POINT, rngs=rngs),
                ConvBN(width, width, CUBE, strides, temporal=temporal, rngs=rngs),
                ConvBN(width, c_out, POINT, relu=False, rngs=rngs),
            ]
        )
        self.shortcut = _shortcut(c_in, c_out, stride, rngs)

    def __call__(self, x: Map, mask: Mask = None) -> Map:
        """Map `[b, t, h, w, c_in]` to `[b, t/stride, h/stride, w/stride, 4 * width]`."""
        return _residual(self, x, mask)


UNITS = {"basic": Basic, "bottleneck": Bottleneck}


def block(
    unit: type[Basic] | type[Bottleneck],
    c_in: int,
    width: int,
    depth: int,
    stride: int,
    rngs: nnx.Rngs,
    *,
    temporal: bool = True,
) -> Chain:
    """Create a block of residual units, the first of which has the stride.

    Args:
      unit: Class of the units.
      c_in: Channels of the input.
      width: Channels within a unit; its output has `width * unit.expansion`.
      depth: Number of units.
      stride: Stride of the first unit over time, height and width.
      rngs: Random generators for the initial weights.
      temporal: If False, each kernel is reduced to one time step.
    """
    unit_inputs = [(c_in, stride)] + [(width * unit.expansion, 1)] * (depth - 1)
    return Chain(
        [
            unit(channels, width, unit_stride, temporal=temporal, rngs=rngs)
            for channels, unit_stride in unit_inputs
        ]
    )


def _shortcut(c_in: int, c_out: int, stride: int, rngs: nnx.Rngs) -> ConvBN | None:
    if c_in == c_out and stride == 1:
        return None
    return ConvBN(c_in, c_out, POINT, (stride, stride, stride), relu=False, rngs=rngs)


def _residual(unit: Basic | Bottleneck, x: Map, mask: Mask) -> Map:
    shortcut = x if unit.shortcut is None else unit.shortcut(x, mask)
    return jax.nn.relu(unit.body(x, mask) + shortcut)
