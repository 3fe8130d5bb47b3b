"""A trained network from stored pixels to probabilities, for prediction and for export."""

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
        """Select as `mser_jax.evaluate.selection.choose`, then scale (Guo et al. 2017)."""
        if self.name == "mean":
            head = jnp.full(len(heads), -1)
            answer = heads.mean(axis=1)
        else:
            most_confident = heads.max(axis=2).argmax(axis=1)
            head = most_confident if self.name == "confidence" else jnp.full(len(heads), self.best)
            answer = jnp.take_along_axis(heads, head[:, None, None], axis=1)[:, 0]
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

    def preprocess(pixels: Array) -> Array:
        pixels = pixels.astype(jnp.float32)
        clips = jnp.arange(len(pixels))
        factors = jax.vmap(lambda clip: _scale_factor(clip, view, scale))(pixels)
        return view(Clips(pixels, factors, clips), clips, jnp.zeros_like(clips))

    return preprocess


def _scale_factor(pixels: Float[Array, "t s s d"], view: View, scale: str) -> Array:
    """Return the factor of a clip's pixels, as in `mser_jax.data.dataset`."""
    if not view.channels or scale == "unit":
        return jnp.float32(1 / 255)
    if scale == "none":
        return jnp.float32(1)
    margin = (pixels.shape[1] - view.size) // 2
    window = pixels[:, margin : margin + view.size, margin : margin + view.size]
    lengths = jnp.sqrt(jnp.sum(window**2, axis=-1))
    return 1 / jnp.maximum(jnp.percentile(lengths, PERCENTILE), MIN_MAGNITUDE)


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
