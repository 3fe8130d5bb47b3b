"""The paper's network: a multi-scale 3-D residual network with four heads (3.3, figure 3)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.affa import AFFA
from mser_jax.models.layers import (
    BatchNorm,
    Dense,
    Key,
    LoweringModule,
    Map,
    Mask,
    global_mean,
    he_normal,
)
from mser_jax.models.multiscale import RC1, RC2, RC3, BranchStyle
from mser_jax.models.ops import conv
from mser_jax.models.resnet3d import UNITS, Stem, block


@dataclasses.dataclass(frozen=True)
class MSRes3DSettings:
    """The options of the network; `mser_jax.config.defaults` explains them.

    The defaults give the paper's full size. Without `temporal` the network is reduced to one time
    step: it has the same modules, but each kernel has a time size of 1 (see `msres2d`).
    """

    classes: int
    channels: int = 3
    block: str = "bottleneck"
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 3)
    attention: bool = True
    rc: BranchStyle | None = dataclasses.field(default_factory=BranchStyle)
    fusion: bool = True
    cascade: bool = False
    cam_reduction: int = 4
    hidden: int = 256
    dropout: float = 0.0
    dtype: str = "float32"
    remat: bool = False
    temporal: bool = True

    @property
    def heads(self) -> int:
        """Number of heads: 4 with the fusion, 1 without."""
        return 4 if self.fusion else 1


class Upsample(LoweringModule):
    """A transposed 2x2x2 convolution of stride 2, a crop to the target's size, and BN (3.3.3)."""

    def __init__(self, c_in: int, c_out: int, *, temporal: bool = True, rngs: nnx.Rngs):
        size = 2 if temporal else 1, 2, 2
        # The fan-in is c_in, because the outputs of this transposed convolution do not overlap.
        self.kernel = he_normal(rngs, (*size, c_in, c_out), c_in)
        self.norm = BatchNorm(c_out)

    def __call__(self, x: Map, like: Map, mask: Mask = None) -> Map:
        """Upsample `x` to the size of `like`.

        A surplus last frame, row or column is cropped.

        Args:
          x: Map `[b, t, h, w, c_in]`.
          like: Map of the target's size.
          mask: `[b]`, False where a slot is empty; None if the batch is full.
        """
        _, t, h, w, _ = like.shape
        upsampled = conv.conv_transpose3d(x, self.kernel[...].astype(x.dtype), self.lowering)
        return self.norm(upsampled[:, :t, :h, :w], mask)


class Head(nnx.Module):
    """Global average, then two fully connected layers with ReLU and dropout between (3.4)."""

    def __init__(
        self, channels: int, hidden: int, classes: int, dropout: float = 0.0, *, rngs: nnx.Rngs
    ):
        self.first = Dense(channels, hidden, rngs=rngs)
        self.second = Dense(hidden, classes, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: Map, key: Key = None) -> Float[Array, "b n"]:
        """Compute logits, in float32 or wider.

        Args:
          x: Map `[b, t, h, w, c]`.
          key: Random key of the dropout; None drops nothing.

        Returns:
          Logits `[b, classes]`.
        """
        hidden = jax.nn.relu(self.first(global_mean(x).reshape(x.shape[0], -1)))
        return self.second(self.dropout(hidden, deterministic=key is None, rngs=key))


def _call_module(module: Any, *inputs: Map | Mask) -> Map:
    """Call a module, as a function that `nnx.remat` can wrap.

    Without remat, the values that the backward pass needs are kept. With remat, it recomputes them
    from the inputs.
    """
    return module(*inputs)


class MSRes3D(nnx.Module):
    """The multi-scale 3D-ResNet50 fusion classification network (section 3.3)."""

    def __init__(self, settings: MSRes3DSettings, *, rngs: nnx.Rngs):
        unit = UNITS[settings.block]
        width, temporal = settings.width, settings.temporal
        sizes = [width * unit.expansion * 2**stage for stage in range(4)]  # of X2, X3, X4, X5
        self.stem = Stem(
            settings.channels, width, attention=settings.attention, temporal=temporal, rngs=rngs
        )
        self.blocks = nnx.List(
            block(
                unit,
                width if stage == 0 else sizes[stage - 1],
                width * 2**stage,
                depth,
                1 if stage == 0 else 2,
                rngs,
                temporal=temporal,
            )
            for stage, depth in enumerate(settings.depths)
        )
        self.rc = nnx.List(
            []
            if settings.rc is None
            else [
                rc(c, settings.rc, temporal=temporal, rngs=rngs)
                for rc, c in zip((RC1, RC2, RC3), sizes)
            ]
        )
        heads = [sizes[3]]
        self.up, self.affa = nnx.List([]), nnx.List([])
        if settings.fusion:
            heads += sizes[2::-1]
            for deep, shallow in zip(sizes[:0:-1], sizes[2::-1]):
                self.up.append(Upsample(deep, shallow, temporal=temporal, rngs=rngs))
                self.affa.append(AFFA(shallow, settings.cam_reduction, rngs=rngs))
        self.cascade = settings.cascade
        self.bfloat16 = settings.dtype == "bfloat16"
        self.call_module = nnx.remat(_call_module) if settings.remat else _call_module
        self.heads = nnx.List(
            Head(channels, settings.hidden, settings.classes, settings.dropout, rngs=rngs)
            for channels in heads
        )

    def __call__(self, x: Map, mask: Mask = None, key: Key = None) -> Float[Array, "b k n"]:
        """Compute the logits of every head.

        Args:
          x: Clips `[b, t, h, w, channels]`; 16 x 134 x 134 in the paper.
          mask: `[b]`, False where a slot is empty; None if the batch is full.
          key: Random key of the heads' dropout; None drops nothing.

        Returns:
          Logits `[b, k, classes]` of the heads on O1 (X5), O2, O3 and O4; k is 1 without the
          fusion.
        """
        return self.head_logits(self.features(x, mask), mask, key)

    def head_logits(
        self, maps: list[Map], mask: Mask = None, key: Key = None
    ) -> Float[Array, "b k n"]:
        """Compute the logits of every head from the maps X2, X3, X4, X5.

        Args:
          maps: Maps as `features` returns them.
          mask: `[b]`, False where a slot is empty; None if the batch is full.
          key: Random key of the heads' dropout; None drops nothing.

        Returns:
          Logits `[b, k, classes]`.
        """
        outputs = self.fuse(maps, mask)
        keys = self._head_keys(key)
        return jnp.stack([head(o, k) for head, o, k in zip(self.heads, outputs, keys)], axis=1)

    def _head_keys(self, key: Key) -> list[Key]:
        """Return a key for each head, or None for a head without dropout."""
        return [
            jax.random.fold_in(key, index) if key is not None and head.dropout.rate else None
            for index, head in enumerate(self.heads)
        ]

    def features(self, x: Map, mask: Mask = None) -> list[Map]:
        """Compute X2, X3, X4, X5 of section 3.3.3.

        These are the outputs of the blocks. The first three pass through an RC module, if the
        network has them.
        """
        x = self.call_module(self.stem, self.cast_input(x), mask)
        maps = []
        for index in range(len(self.blocks)):
            x = self.stage(index, x, mask)
            maps.append(x)
        return maps

    def cast_input(self, x: Map) -> Map:
        """Cast the clips to bfloat16 if the maps are; else leave their dtype."""
        return x.astype(jnp.bfloat16) if self.bfloat16 else x

    def stage(self, index: int, x: Map, mask: Mask = None) -> Map:
        """Apply a residual block and its RC module, if it has one.

        Args:
          index: Index of the block; 0 gives X2.
          x: Map of the previous stage.
          mask: `[b]`, False where a slot is empty; None if the batch is full.
        """
        x = self.call_module(self.blocks[index], x, mask)
        return self.call_module(self.rc[index], x, mask) if index < len(self.rc) else x

    def fuse(self, maps: list[Map], mask: Mask = None) -> list[Map]:
        """Compute O1 to O4 of section 3.3.3; O1 alone without the fusion.

        O1 = X5. The others are AFFA(up(deeper), shallower), down to X2. The deeper map is that of
        the network, or with `cascade` the previous output.
        """
        outputs = [maps[3]]
        for up, affa, deep, shallow in zip(self.up, self.affa, maps[:0:-1], maps[2::-1]):
            source = outputs[-1] if self.cascade else deep
            upsampled = self.call_module(up, source, shallow, mask)
            outputs.append(self.call_module(affa, upsampled, shallow, mask))
        return outputs


def msres2d(classes: int, *, side: int = 28, rngs: nnx.Rngs) -> MSRes3D:
    """Create the paper's network for one onset-apex flow per clip, at full size.

    Every layer keeps its name and has a time size of 1. Up to rounding, the result equals the 3-D
    network on a clip of one time step, whose other taps over time see only padding. The links over
    time of the RC modules become 1x1x1. None of them repeats another branch: only X7 of RC3
    convolves all channels directly to its output. The attention over time becomes a single weight
    for the whole clip. The max-pool and the strides are unchanged, because they keep one step as
    one step. The network is meant for clips of one step only.

    Args:
      classes: Number of classes.
      side: Side of the image, px. Any side works (28 px become 14, 7, 7, 4, 2, 1 through the
        stages).
      rngs: Random generators for the initial weights.
    """
    del side  # No layer depends on it.
    return MSRes3D(MSRes3DSettings(classes, temporal=False), rngs=rngs)
