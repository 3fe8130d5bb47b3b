"""Modules as pure functions over pure dicts, which training maps over folds."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
from flax import nnx
from jaxtyping import Array, Float

from mser_jax.models.layers import Key, Map, Mask

Tree = Any


class Apply(Protocol):
    """A network's forward pass."""

    def __call__(
        self, params: Tree, stats: Tree, x: Map, mask: Mask, train: bool, key: Key = None
    ) -> tuple[Float[Array, "b k n"], Tree]:
        """Return the logits `[b, k, classes]` and the running statistics.

        In training, batch normalisation uses the batch's own statistics and updates the running
        ones, and dropout is drawn from `key` (without a key nothing is dropped). Otherwise it uses
        the running statistics, and nothing is dropped.
        """
        ...


class Network(NamedTuple):
    """A model as pure functions over pure dicts, to which JAX's own transforms apply.

    Attributes:
      init: `key -> (params, stats)`.
      apply: `(params, stats, x, mask, train, key) -> (logits, stats)`.
    """

    init: Callable[[jax.Array], tuple[Tree, Tree]]
    apply: Apply


def functional(build: Callable[[nnx.Rngs], nnx.Module], lowering: str = "auto") -> Network:
    """Turn a module's constructor into a `Network`.

    Args:
      build: Function that creates the module from random generators. The module is called with
        `(x, mask, key)` and must not draw random numbers without a key.
      lowering: Lowering of its convolutions, 'auto' or one of `conv.LOWERINGS`.
    """
    shapes = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    graphs = {train: _graph(_view(shapes, train, lowering)) for train in (True, False)}

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        _, params, stats = nnx.split(build(nnx.Rngs(key)), nnx.Param, nnx.BatchStat)
        params = _draw_weights(params, key)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    def apply(params: Tree, stats: Tree, x: Map, mask: Mask, train: bool, key: Key = None):
        model: Any = nnx.merge(graphs[train], params, stats)
        logits = model(x, mask, key if train else None)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return Network(init, apply)


def count_parameters(params: Tree) -> int:
    """Count the parameters in a tree of arrays or of their shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _draw_weights(params: nnx.State, key: jax.Array) -> nnx.State:
    """Draw all weights in one call.

    One call per weight makes a program that takes long to compile. The constructor's own draws are
    then unused, and the compiler removes them.
    """
    variables = [variable for _, variable in nnx.to_flat_state(params)]
    weights = [variable for variable in variables if "deviation" in variable.get_metadata()]
    pool = jax.random.normal(key, (sum(w.size for w in weights),))
    start = 0
    for weight in weights:
        values = pool[start : start + weight.size].reshape(weight.shape)
        weight.set_value(weight.get_metadata("deviation") * values)
        start += weight.size
    return params


def _view(model: nnx.Module, train: bool, lowering: str) -> nnx.Module:
    """Return the module with a lowering, in training mode or with running averages."""
    # A network may have neither a normalisation nor a convolution.
    return nnx.view(
        model, use_running_average=not train, lowering=lowering, raise_if_not_found=False
    )


def _graph(model: nnx.Module) -> nnx.GraphDef:
    return nnx.split(model, nnx.Param, nnx.BatchStat)[0]
