"""A trained network from stored pixels to probabilities: what is exported, and what predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float, Int

from mser_jax.data.augment import MIN_MAGNITUDE, PERCENTILE, Clips, View
from mser_jax.evaluate.calibration import MIN_PROBABILITY
from mser_jax.models.network import Network

Tree = Any
PLATFORMS = ("cpu", "cuda", "tpu")
RULES = (
    "confidence",
    "mean",
    "train_loss",
)  # of mser_jax.evaluate.selection, those that need no label


class Output(NamedTuple):
    """Of each clip.

    Attributes:
      probabilities: `[b, n]`, of the answer, calibrated where a temperature is known.
      heads: `[b, k, n]`, as the network gives them.
      head: `[b]`, which one answers, from 0; -1 where their mean does.
    """

    probabilities: Float[Array, "b n"]
    heads: Float[Array, "b k n"]
    head: Int[Array, " b"]


@dataclasses.dataclass(frozen=True)
class HeadSelector:
    """How the heads' probabilities become one answer (3.4).

    Attributes:
      name: one of `RULES`.
      best: the head with the lowest loss on the clips of the training, for 'train_loss'.
      temperature: of the answer; 1 leaves it as it is.
    """

    name: str
    best: int = 0
    temperature: float = 1.0

    def __call__(self, heads: Float[Array, "b k n"]) -> Output:
        """What `mser_jax.evaluate.selection.choose` chooses, then scaled (Guo et al. 2017)."""
        if self.name == "mean":
            head = jnp.full(len(heads), -1)
            answer = heads.mean(axis=1)
        else:
            sure = heads.max(axis=2).argmax(axis=1)
            head = sure if self.name == "confidence" else jnp.full(len(heads), self.best)
            answer = jnp.take_along_axis(heads, head[:, None, None], axis=1)[:, 0]
        scaled = jax.nn.softmax(jnp.log(jnp.maximum(answer, MIN_PROBABILITY)) / self.temperature)
        return Output(scaled, heads, head)


def make_predict_fn(
    network: Network, view: View, selector: HeadSelector, scale: str
) -> Callable[[Tree, Tree, Array], Output]:
    """`(params, stats, pixels [b, t, s, s, d]) -> Said`, the pixels as records hold them.

    Args:
      network: as pure functions.
      view: how it sees a clip.
      selector: how it answers.
      scale: 'clip', 'unit' or 'none', as `data.dataset.load` scales flow and images; frames are
        divided by 255 always.
    """

    def of(params: Tree, stats: Tree, pixels: Array) -> Output:
        heads = jax.nn.softmax(network.apply(params, stats, seen(pixels), None, False)[0])
        return selector(heads.astype(jnp.float32))

    seen = make_preprocess_fn(view, scale)
    return of


def make_preprocess_fn(view: View, scale: str) -> Callable[[Array], Array]:
    """`pixels [b, t, s, s, d] -> [b, t, h, w, c]`, the network's input."""

    def seen(pixels: Array) -> Array:
        pixels = pixels.astype(jnp.float32)
        every = jnp.arange(len(pixels))
        factors = jax.vmap(lambda clip: _scale_factor(clip, view, scale))(pixels)
        return view(Clips(pixels, factors, every), every, jnp.zeros_like(every))

    return seen


def _scale_factor(pixels: Float[Array, "t s s d"], view: View, scale: str) -> Array:
    """What a clip is multiplied by; as in `mser_jax.data.dataset`."""
    if not view.channels or scale == "unit":
        return jnp.float32(1 / 255)
    if scale == "none":
        return jnp.float32(1)
    margin = (pixels.shape[1] - view.size) // 2
    window = pixels[:, margin : margin + view.size, margin : margin + view.size]
    lengths = jnp.sqrt(jnp.sum(window**2, axis=-1))
    return 1 / jnp.maximum(jnp.percentile(lengths, PERCENTILE), MIN_MAGNITUDE)


def export_stablehlo(predict_fn: Callable[[Array], Output], shape: tuple[int, ...]) -> bytes:
    """`predict_fn` as StableHLO, for any number of clips, on the platforms `PLATFORMS`.

    `jax.export.deserialize(these).call(pixels)` gives (probabilities, heads, head), as in `Said`,
    without any of our code; the weights are within.

    Args:
      predict_fn: `pixels [b, *shape]` to what is said.
      shape: of one clip's pixels, float32.
    """

    def one(pixels: Array) -> tuple[Array, ...]:
        return tuple(predict_fn(pixels[None]))

    def each(pixels: Array) -> tuple[Array, ...]:
        said = jax.lax.map(one, pixels)
        return tuple(part[:, 0] for part in said)

    clips = export.symbolic_shape(f"clips, {', '.join(map(str, shape))}")
    wanted = jax.ShapeDtypeStruct(clips, jnp.float32)
    return bytes(export.export(jax.jit(each), platforms=PLATFORMS)(wanted).serialize())
