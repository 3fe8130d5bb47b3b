"""A trained network from stored pixels to probabilities, for prediction and for export."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float, Int

from mser_jax.data.augment import Clips, View, scale_factor
from mser_jax.evaluate.calibration import MIN_PROBABILITY
from mser_jax.evaluate.selection import choose_heads
from mser_jax.models.network import Network

Tree = Any
PLATFORMS = ("cpu", "cuda", "tpu")
RULES = (
    "confidence",
    "mean",
    "train_loss",
)  # The rules of mser_jax.evaluate.selection that need no label.


class Output(NamedTuple):
    """Output for a batch of clips.

    Attributes:
      probabilities: Probabilities of the answer, `[b, n]`, calibrated if a temperature is known.
      heads: Probabilities of each head, `[b, k, n]`, not calibrated.
      head: Index of the head that answers, `[b]`, or -1 if the mean of the heads answers.
    """

    probabilities: Float[Array, "b n"]
    heads: Float[Array, "b k n"]
    head: Int[Array, " b"]


@dataclasses.dataclass(frozen=True)
class HeadSelector:
    """The rule that turns the probabilities of the heads into one answer (section 3.4).

    Attributes:
      name: One of `RULES`.
      best: Index of the head with the lowest training loss, for 'train_loss'.
      temperature: Temperature of the answer; 1 leaves it unchanged.
    """

    name: str
    best: int = 0
    temperature: float = 1.0

    def __call__(self, heads: Float[Array, "b k n"]) -> Output:
        """Choose the answer, then scale it (Guo et al. 2017)."""
        answer, head = choose_heads(heads, self.name, self.best, jnp)
        scaled = jax.nn.softmax(jnp.log(jnp.maximum(answer, MIN_PROBABILITY)) / self.temperature)
        return Output(scaled, heads, head)


def make_predict_fn(
    network: Network, view: View, selector: HeadSelector, scale: str
) -> Callable[[Tree, Tree, Array], Output]:
    """Make a function `(params, stats, pixels [b, t, s, s, d]) -> Output`.

    The pixels are those that records hold.

    Args:
      network: Network as pure functions.
      view: How the network sees a clip.
      selector: How the heads give one answer.
      scale: 'clip', 'unit' or 'none', as `data.dataset.load` scales flow and images. Frames are
        always divided by 255.
    """

    def predict(params: Tree, stats: Tree, pixels: Array) -> Output:
        heads = jax.nn.softmax(network.apply(params, stats, preprocess(pixels), None, False)[0])
        return selector(heads.astype(jnp.float32))

    preprocess = make_preprocess_fn(view, scale)
    return predict


def make_preprocess_fn(view: View, scale: str) -> Callable[[Array], Array]:
    """Make a function from pixels `[b, t, s, s, d]` to the input `[b, t, h, w, c]`."""
    scale = scale if view.channels else "unit"

    def factor(pixels: Array) -> Array:
        return jnp.float32(scale_factor(pixels, scale, view.size, jnp))

    def preprocess(pixels: Array) -> Array:
        pixels = pixels.astype(jnp.float32)
        clips = jnp.arange(len(pixels))
        factors = jax.vmap(factor)(pixels)
        return view(Clips(pixels, factors, clips), clips, jnp.zeros_like(clips))

    return preprocess


def export_stablehlo(predict_fn: Callable[[Array], Output], shape: tuple[int, ...]) -> bytes:
    """Export a predict function as StableHLO for any number of clips on `PLATFORMS`.

    `jax.export.deserialize(program).call(pixels)` returns (probabilities, heads, head), as in
    `Output`, without any of our code. The weights are part of the program.

    Args:
      predict_fn: Function from `pixels [b, *shape]` to `Output`.
      shape: Shape of one clip's pixels, float32.
    """

    def predict_one(pixels: Array) -> tuple[Array, ...]:
        return tuple(predict_fn(pixels[None]))

    def predict_all(pixels: Array) -> tuple[Array, ...]:
        outputs = jax.lax.map(predict_one, pixels)
        return tuple(output[:, 0] for output in outputs)

    clips = export.symbolic_shape(f"clips, {', '.join(map(str, shape))}")
    pixels_spec = jax.ShapeDtypeStruct(clips, jnp.float32)
    return bytes(export.export(jax.jit(predict_all), platforms=PLATFORMS)(pixels_spec).serialize())
