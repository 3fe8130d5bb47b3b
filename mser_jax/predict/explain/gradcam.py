"""What the paper's network looked at in one clip: Grad-CAM, attention, and weights of branches.

The network is the trained one, with its own forward pass. A map is as coarse as its stage, but
where it lies is known: kernels are odd and padded alike on both sides, so that an entry is centred
on the pixel of its index times its stride. Spread from edge to edge, X5 would lie 13 pixels off.

Such a map tells where the network looked, not why, and can look right for a network that has
learned nothing (Adebayo et al. 2018): tests/mser_jax/predict/explain/test_gradcam.py makes the
check of that paper.
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
from mser_jax.models.ops import conv

STAGES = ("X2", "X3", "X4", "X5")  # section 3.3.3; X2, X3 and X4 are what an RC module gives
_BRANCHES = {"RC1": RC1.names, "RC2": RC2.names, "RC3": RC3.names}
_STEP, _PIXEL = 2, 4  # of X2's entries in the clip; twice as much from each stage to the next


@dataclasses.dataclass(frozen=True, eq=False)
class Reason:
    """What one clip's answer was made from.

    Attributes:
      target: the class that the maps speak for.
      probabilities: `[k, n]`, of each head, as the network gives them.
      logits: `[k, n]`.
      cams: `[k, s, t, h, w]` in 0..1, over the clip; each of the k x s maps is divided by its own
        maximum, and is 0 where nothing speaks for the class.
      uses_stage: `[k, s]` bool, whether the head's answer depends on that stage at all.
      sizes: of the maps of each stage before they were spread over the clip, (t', h', w').
      time_weights: `[t]` in 0..1, of the attention after the first convolution, which keeps the
        time steps; None where the network has no attention.
      space_weights: `[h', w']` in 0..1, likewise, of the positions of that convolution's map.
      branches: 'RC1' to 'RC3' -> what is summed there, with its weight (eq. 3.8 and 3.9); empty
        where the network has none. Sizes of kernels are time x height x width.
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
    """What the compiled program gives: as in `Reason`; the maps as they are in the network."""

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
    """Say what the network looked at in one clip, for one class.

    The program is compiled once for each settings and size of clips.

    Args:
      settings: of the network.
      params: as `functional(...).init` has them.
      stats: the running statistics, likewise; they normalise.
      clip: the network's input.
      target: the class that is explained; by default that of the surest head.
      lowering: of the convolutions, 'auto' or one of `conv.LOWERINGS`.

    Raises:
      ValueError: there is no such class.

    References:
      Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
      localization", ICCV 2017.
    """
    if target is not None and not 0 <= target < settings.classes:
        raise ValueError(f"there is no class {target}; there are {settings.classes}")
    asked = -1 if target is None else target
    raw = jax.device_get(_make_explain_fn(settings, lowering)(params, stats, clip, asked))
    time, space = (None, None) if raw.attention is None else raw.attention
    return Reason(
        target=int(raw.target),
        probabilities=np.asarray(jax.nn.softmax(raw.logits)),
        logits=raw.logits,
        cams=_upsample(raw.coarse_maps, clip.shape[:3]),
        uses_stage=head_uses_stage(settings),
        sizes=tuple(each.shape[1:] for each in raw.coarse_maps),
        time_weights=time,
        space_weights=space,
        branches={
            name: tuple(zip(names, map(float, weights)))
            for (name, names), weights in zip(_BRANCHES.items(), raw.branches)
        },
    )


def head_uses_stage(settings: MSRes3DSettings) -> np.ndarray:
    """Which head's answer depends on which stage: `[k, s]` bool.

    Head 1 is on X5 and sees all through it. A later head fuses two neighbouring stages and sees
    these and the shallower ones; all, where each fusion takes the one before (`cascade`).
    """
    head, stage = np.arange(settings.heads)[:, None], np.arange(len(STAGES))
    return settings.cascade | (head + stage <= len(STAGES))


@functools.lru_cache(maxsize=8)
def _make_explain_fn(settings: MSRes3DSettings, lowering: str) -> Callable[..., _Raw]:
    """`(params, stats, clip, target) -> _Raw`, compiled; a target below 0 is the surest's."""
    settings = dataclasses.replace(settings, remat=False, dropout=0.0)
    abstract = nnx.eval_shape(lambda: MSRes3D(settings, rngs=nnx.Rngs(0)))
    graph = nnx.split(nnx.view(abstract, use_running_average=True), nnx.Param, nnx.BatchStat)[0]

    def of(params: Tree, stats: Tree, clip: Array, target: Array) -> _Raw:
        model: Any = nnx.merge(graph, params, stats)
        x = jnp.asarray(clip)[None]
        with conv.lowering(lowering):
            logits, maps, pull = _forward(model, x)
            surest = logits[jax.nn.softmax(logits).max(axis=1).argmax()].argmax()
            chosen = jnp.where(target < 0, surest, target)
            cams = _cams(maps, pull, logits.shape, chosen)
            attention = _attention(model, x)
        return _Raw(
            chosen, logits, cams, attention, [rc.fuse.normalised_weights() for rc in model.rc]
        )

    return jax.jit(of)


def _forward(model: MSRes3D, x: Map) -> tuple[Array, list[Map], Callable[[Array], list[Map]]]:
    """Logits `[k, n]`, X2 to X5, and from a gradient of the logits those of X2 to X5.

    A zero is added to each map: the gradient at the zero is the map's own, through every path.
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
    """Grad-CAM of each stage for all heads, `[k, t', h', w']`, as large as it comes.

    relu(sum_c a_c A_c), where a_c is the mean over the map of the gradient of the target's logit
    (Selvaraju et al., eq. 1 and 2, with time as one more axis).
    """
    heads, classes = shape
    one_hot = jnp.eye(heads)[:, :, None] * jax.nn.one_hot(target, classes)[None, None]
    gradients = jax.lax.map(vjp_fn, one_hot)  # a pass for each head; side by side needs the memory
    return [
        jax.nn.relu(jnp.einsum("kc,thwc->kthw", _mean(gradient[:, 0]), x[0].astype(jnp.float32)))
        for x, gradient in zip(maps, gradients)
    ]


def _mean(gradient: Float[Array, "k t h w c"]) -> Float[Array, "k c"]:
    return gradient.astype(jnp.float32).mean(axis=(1, 2, 3))


def _attention(model: MSRes3D, x: Map) -> tuple[Array, Array] | None:
    """The weights of the time steps `[t]` and of the positions `[h', w']`."""
    attention = model.stem.attention
    if attention is None:
        return None
    y = model.stem.conv(model.cast_input(x))  # the compiler takes the forward pass's own
    time = attention.time_weights(y)
    space = attention.space_weights(apply_weights(y, time))
    return time[0, :, 0, 0, 0].astype(jnp.float32), space[0, 0, :, :, 0].astype(jnp.float32)


def _upsample(coarse_maps: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """The maps of each stage `[k, t', h', w']` over the clip, `[k, s, t, h, w]` in 0..1."""
    spread = []
    for number, maps in enumerate(coarse_maps):
        strides = (_STEP << number, _PIXEL << number, _PIXEL << number)
        over = (_interpolation_matrix(*sides) for sides in zip(shape, maps.shape[1:], strides))
        spread.append(np.einsum("kabc,ta,hb,wc->kthw", maps, *over, optimize=True))
    grown = np.stack(spread, axis=1)
    largest = grown.max(axis=(2, 3, 4), keepdims=True)
    return grown / np.where(largest > 0, largest, 1)


def _interpolation_matrix(outputs: int, inputs: int, stride: int) -> np.ndarray:
    """Linear interpolation along one axis, float32 `[outputs, inputs]`.

    Entry i lies at i * stride; beyond the last one its value holds.
    """
    at = np.minimum(np.arange(outputs) / stride, inputs - 1)[:, None]
    return np.maximum(0, 1 - np.abs(at - np.arange(inputs))).astype(np.float32)
