"""The paper's network: a multi-scale 3-D residual network, four heads (section 3.3, figure 3)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.affa import AFFA
from mser_jax.models.layers import BatchNorm, Dense, Key, Map, Mask, dropout, global_mean, he_normal
from mser_jax.models.multiscale import RC1, RC2, RC3, BranchStyle
from mser_jax.models.ops import conv
from mser_jax.models.resnet3d import UNITS, Stem, block


@dataclasses.dataclass(frozen=True)
class MSRes3DSettings:
    """What can be switched; `mser_jax.config.defaults` says what each means.

    The defaults are the paper's full size. Without `temporal` the network is cut to one time step:
    the same modules, each kernel with a time size of 1 (`msres2d`).
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
        """How many answers the network gives."""
        return 4 if self.fusion else 1


class Upsample(nnx.Module):
    """A transposed 2x2x2 convolution of stride 2, cropped to the target's size, then BN (3.3.3)."""

    def __init__(self, c_in: int, c_out: int, *, temporal: bool = True, rngs: nnx.Rngs):
        size = 2 if temporal else 1, 2, 2
        self.kernel = he_normal(rngs, (*size, c_in, c_out), c_in)  # no outputs overlap
        self.norm = BatchNorm(c_out)

    def __call__(self, x: Map, like: Map, mask: Mask = None) -> Map:
        """`[b, t, h, w, c_in]` to the shape of `like`; the trailing row, column or frame goes."""
        _, t, h, w, _ = like.shape
        grown = conv.conv_transpose3d(x, self.kernel[...].astype(x.dtype))
        return self.norm(grown[:, :t, :h, :w], mask)


class Head(nnx.Module):
    """Global average, two fully connected layers with ReLU and dropout between (section 3.4)."""

    def __init__(
        self, channels: int, hidden: int, classes: int, dropout: float = 0.0, *, rngs: nnx.Rngs
    ):
        self.first = Dense(channels, hidden, rngs=rngs)
        self.second = Dense(hidden, classes, rngs=rngs)
        self.dropout = dropout

    def __call__(self, x: Map, key: Key = None) -> Float[Array, "b n"]:
        """`[b, t, h, w, c]` to logits `[b, classes]`, in float32 at least; no key, no dropout."""
        hidden = jax.nn.relu(self.first(global_mean(x).reshape(x.shape[0], -1)))
        return self.second(dropout(hidden, self.dropout, key))


def _call_module(module: Any, *inputs: Map | Mask) -> Map:
    """A stage; what backward needs is kept, or with `remat` computed anew from the inputs."""
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
        """Logits of every head.

        Args:
          x: `[b, t, h, w, channels]`; 16 x 134 x 134 in the paper.
          mask: `[b]`, False where the batch has no clip; None when it is full.
          key: what the dropout of the heads is drawn from; None drops nothing.

        Returns:
          `[b, k, classes]`: heads on O1 (X5), O2, O3 and O4; k is 1 without the fusion.
        """
        return self.head_logits(self.features(x, mask), mask, key)

    def head_logits(
        self, maps: list[Map], mask: Mask = None, key: Key = None
    ) -> Float[Array, "b k n"]:
        """Logits of every head from X2, X3, X4, X5; mask and key as of the network."""
        outputs = self.fuse(maps, mask)
        keys = self._head_keys(key)
        return jnp.stack([head(o, k) for head, o, k in zip(self.heads, outputs, keys)], axis=1)

    def _head_keys(self, key: Key) -> list[Key]:
        """A key for each head; where none is used, none is made."""
        return [
            jax.random.fold_in(key, number) if key is not None and head.dropout else None
            for number, head in enumerate(self.heads)
        ]

    def features(self, x: Map, mask: Mask = None) -> list[Map]:
        """X2, X3, X4, X5 of section 3.3.3: the blocks' outputs, the first three through an RC."""
        x = self.call_module(self.stem, self.cast_input(x), mask)
        maps = []
        for number in range(len(self.blocks)):
            x = self.stage(number, x, mask)
            maps.append(x)
        return maps

    def cast_input(self, x: Map) -> Map:
        """The clips in the type of the maps, which in float32 is that of the clips."""
        return x.astype(jnp.bfloat16) if self.bfloat16 else x

    def stage(self, number: int, x: Map, mask: Mask = None) -> Map:
        """From one map to the next: a residual block (`number` 0 makes X2) and its RC, if any."""
        x = self.call_module(self.blocks[number], x, mask)
        return self.call_module(self.rc[number], x, mask) if number < len(self.rc) else x

    def fuse(self, maps: list[Map], mask: Mask = None) -> list[Map]:
        """O1 to O4 of section 3.3.3: O1 = X5, then AFFA(up(deeper), shallower) down to X2."""
        outputs = [maps[3]]
        for up, affa, deep, shallow in zip(self.up, self.affa, maps[:0:-1], maps[2::-1]):
            source = outputs[-1] if self.cascade else deep
            grown = self.call_module(up, source, shallow, mask)
            outputs.append(self.call_module(affa, grown, shallow, mask))
        return outputs


def msres2d(classes: int, *, side: int = 28, rngs: nnx.Rngs) -> MSRes3D:
    """The paper's network at full size, cut to one time step, for one onset-apex flow a clip.

    Every layer stays under its name, with a time size of 1, so that this is, up to rounding,
    the 3-D network on a clip of one step, whose other taps over time see padding alone. The links
    over time of the RC modules are then 1x1x1, none of which repeats another branch (X7 of RC3
    alone sees all channels); the attention over time is a gate for the whole clip; the max-pool and
    the strides, which leave one step one step, are as they were. It is meant for one step alone.

    Args:
      classes: how many.
      side: of the image, px; any (28, 14, 7, 7, 4, 2, 1 through the stages).
      rngs: of the initial weights.
    """
    del side  # no layer depends on it
    return MSRes3D(MSRes3DSettings(classes, temporal=False), rngs=rngs)
