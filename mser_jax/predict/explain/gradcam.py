"""Grad-CAM, attention and branch weights of the paper's network for one clip.

The network is the trained one, with its own forward pass. A map is as coarse as its stage, but its
place in the clip is exact: kernels are odd and padded equally on both sides, so entry i is centred
on pixel i times the stride. Stretching X5 from edge to edge would misplace it by 13 pixels.

Such a map shows where the network looked, not why. It can look right for a network that has learned
nothing (Adebayo et al. 2018): tests/mser_jax/predict/explain/test_gradcam.py runs the check of that
paper.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.attention import apply_weights
from mser_jax.models.layers import Map
from mser_jax.models.msres3d import MSRes3D, MSRes3DSettings
from mser_jax.models.multiscale import RC1, RC2, RC3
from mser_jax.models.network import Tree

STAGES = ("X2", "X3", "X4", "X5")  # section 3.3.3; X2, X3 and X4 are outputs of RC modules
_BRANCHES = {"RC1": RC1.names, "RC2": RC2.names, "RC3": RC3.names}
_STEP, _PIXEL = 2, 4  # strides of X2 in time and space; each later stage doubles them


@dataclasses.dataclass(frozen=True, eq=False)
class Reason:
    """What the answer for one clip is based on.

    Attributes:
      target: Class that the maps explain.
      probabilities: Probabilities of each head, `[k, n]`, not calibrated.
      logits: Logits of each head, `[k, n]`.
      cams: Grad-CAM maps over the clip, `[k, s, t, h, w]` in 0..1. Each of the k x s maps is
        divided by its own maximum, and is 0 where nothing supports the class.
      uses_stage: Whether a head's answer depends on a stage at all, `[k, s]` bool.
      sizes: Size (t', h', w') of each stage's maps before upsampling.
      time_weights: Attention of the time steps after the first convolution, `[t]` in 0..1, or None
        if the network has no attention.
      space_weights: Attention of the positions of that convolution's map, `[h', w']` in 0..1, or
        None.
      branches: Branches that 'RC1' to 'RC3' sum, with their weights (eq. 3.8 and 3.9); empty if the
        network has no RC modules. Kernel sizes are time x height x width.
    """

    target: int
    probabilities: np.ndarray
    logits: np.ndarray
    cams: np.ndarray
    uses_stage: np.ndarray
    sizes: tuple[tuple[int, int, int], ...]
    time_weights: np.ndarray | None
    space_weights: np.ndarray | None
    branches: Mapping[str, Sequence[tuple[str, float]]]


class _Raw(NamedTuple):
    """Output of the compiled program, as in `Reason`, with maps at the network's resolution."""

    target: Array
    logits: Float[Array, "k n"]
    coarse_maps: list[Float[Array, "k t2 h2 w2"]]
    attention: tuple[Float[Array, " t"], Float[Array, "h2 w2"]] | None
    branches: list[Float[Array, " m"]]


def explain(
    settings: MSRes3DSettings,
    params: Tree,
    stats: Tree,
    clip: Float[Array, "t h w c"] | np.ndarray,
    *,
    target: int | None = None,
    lowering: str = "auto",
) -> Reason:
    """Explain the network's answer for one clip and one class.

    The program is compiled once for each settings and clip size.

    Args:
      settings: Settings of the network.
      params: Parameters as returned by `functional(...).init`.
      stats: Batch statistics as returned by it. They normalise.
      clip: Input of the network.
      target: Class to explain. The default is the class of the most confident head.
      lowering: Lowering of the convolutions: 'auto' or one of `conv.LOWERINGS`.

    Raises:
      ValueError: There is no such class.

    References:
      Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
      localization", ICCV 2017.
    """
    if target is not None and not 0 <= target < settings.classes:
        raise ValueError(f"no class {target}; there are {settings.classes}")
    target_index = -1 if target is None else target
    raw = jax.device_get(_make_explain_fn(settings, lowering)(params, stats, clip, target_index))
    time, space = (None, None) if raw.attention is None else raw.attention
    return Reason(
        target=int(raw.target),
        probabilities=np.asarray(jax.nn.softmax(raw.logits)),
        logits=raw.logits,
        cams=_upsample(raw.coarse_maps, clip.shape[:3]),
        uses_stage=head_uses_stage(settings),
        sizes=tuple(maps.shape[1:] for maps in raw.coarse_maps),
        time_weights=time,
        space_weights=space,
        branches={
            name: tuple(zip(names, map(float, weights)))
            for (name, names), weights in zip(_BRANCHES.items(), raw.branches)
        },
    )


def head_uses_stage(settings: MSRes3DSettings) -> np.ndarray:
    """Return which head's answer depends on which stage, `[k, s]` bool.

    Head 1 is on X5 and depends on all stages. A later head fuses two neighbouring stages and
    depends on these and the shallower ones, or on all if each fusion takes the one before
    (`cascade`).
    """
    head, stage = np.arange(settings.heads)[:, None], np.arange(len(STAGES))
    return settings.cascade | (head + stage <= len(STAGES))


@functools.lru_cache(maxsize=8)
def _make_explain_fn(settings: MSRes3DSettings, lowering: str) -> Callable[..., _Raw]:
    """Compile `(params, stats, clip, target) -> _Raw`.

    A target below 0 stands for the class of the most confident head.
    """
    settings = dataclasses.replace(settings, remat=False, dropout=0.0)
    abstract = nnx.eval_shape(lambda: MSRes3D(settings, rngs=nnx.Rngs(0)))
    viewed = nnx.view(abstract, use_running_average=True, lowering=lowering)
    graph = nnx.split(viewed, nnx.Param, nnx.BatchStat)[0]

    def explain(params: Tree, stats: Tree, clip: Array, target: Array) -> _Raw:
        model: Any = nnx.merge(graph, params, stats)
        x = jnp.asarray(clip)[None]
        logits, maps, vjp_fn = _forward(model, x)
        most_confident = logits[jax.nn.softmax(logits).max(axis=1).argmax()].argmax()
        chosen = jnp.where(target < 0, most_confident, target)
        cams = _cams(maps, vjp_fn, logits.shape, chosen)
        attention = _attention(model, x)
        return _Raw(
            chosen, logits, cams, attention, [rc.fuse.normalised_weights() for rc in model.rc]
        )

    return jax.jit(explain)


def _forward(model: MSRes3D, x: Map) -> tuple[Array, list[Map], Callable[[Array], list[Map]]]:
    """Return logits, the maps X2 to X5 and a function that gives their gradients.

    The logits are `[k, n]`. The function maps gradients of the logits to gradients of the maps.
    A zero is added to each map. The gradient at the zero is that of the map, through every path.
    """

    def answers(zeros: list[Map]) -> tuple[Array, list[Map]]:
        y, maps = model.call_module(model.stem, model.cast_input(x), None), []
        for number, zero in enumerate(zeros):
            y = model.stage(number, y) + zero
            maps.append(y)
        return model.head_logits(maps)[0], maps

    shapes = jax.eval_shape(model.features, x)
    zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
    logits, pull, maps = jax.vjp(answers, zeros, has_aux=True)
    return logits, maps, lambda gradient: pull(gradient)[0]


def _cams(
    maps: list[Map], vjp_fn: Callable[[Array], list[Map]], shape: Sequence[int], target: Array
) -> list[Array]:
    """Compute Grad-CAM `[k, t', h', w']` of each stage for all heads, without scaling.

    relu(sum_c a_c A_c), where a_c is the mean over the map of the gradient of the target's logit
    (Selvaraju et al., eq. 1 and 2, with time as one more axis).
    """
    heads, classes = shape
    one_hot = jnp.eye(heads)[:, :, None] * jax.nn.one_hot(target, classes)[None, None]
    gradients = jax.lax.map(
        vjp_fn, one_hot
    )  # One pass for each head: all at once would need too much memory.
    return [
        jax.nn.relu(jnp.einsum("kc,thwc->kthw", _mean(gradient[:, 0]), x[0].astype(jnp.float32)))
        for x, gradient in zip(maps, gradients)
    ]


def _mean(gradient: Float[Array, "k t h w c"]) -> Float[Array, "k c"]:
    return gradient.astype(jnp.float32).mean(axis=(1, 2, 3))


def _attention(model: MSRes3D, x: Map) -> tuple[Array, Array] | None:
    """Return the attention of the time steps `[t]` and of the positions `[h', w']`."""
    attention = model.stem.attention
    if attention is None:
        return None
    y = model.stem.conv(
        model.cast_input(x)
    )  # XLA merges this with the convolution of the forward pass.
    time = attention.time_weights(y)
    space = attention.space_weights(apply_weights(y, time))
    return time[0, :, 0, 0, 0].astype(jnp.float32), space[0, 0, :, :, 0].astype(jnp.float32)


def _upsample(coarse_maps: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Upsample the stages' maps to the size of the clip, scaled to 0..1."""
    upsampled = []
    for number, maps in enumerate(coarse_maps):
        strides = (_STEP << number, _PIXEL << number, _PIXEL << number)
        matrices = (_interpolation_matrix(*sides) for sides in zip(shape, maps.shape[1:], strides))
        upsampled.append(np.einsum("kabc,ta,hb,wc->kthw", maps, *matrices, optimize=True))
    cams = np.stack(upsampled, axis=1)
    largest = cams.max(axis=(2, 3, 4), keepdims=True)
    return cams / np.where(largest > 0, largest, 1)


def _interpolation_matrix(outputs: int, inputs: int, stride: int) -> np.ndarray:
    """Return the matrix of linear interpolation, float32 `[outputs, inputs]`.

    Input i lies at output i * stride. Beyond the last input its value is repeated.
    """
    position = np.minimum(np.arange(outputs) / stride, inputs - 1)[:, None]
    return np.maximum(0, 1 - np.abs(position - np.arange(inputs))).astype(np.float32)
