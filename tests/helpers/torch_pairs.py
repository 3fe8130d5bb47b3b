"""A module of ours beside its PyTorch twin, with the same weights: outputs and gradients agree."""

# pyright: reportMissingImports=false

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from flax import nnx

from helpers import torch_transfer as transfer

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}  # of the largest entry
MASK = np.array([True, False, True, True, True, True, True, False])
CLIPS = len(MASK)


@dataclasses.dataclass
class Pair:
    """A module of ours, its twin, and the shapes of their inputs without the clips, ours."""

    ours: Callable[[nnx.Rngs], Any]
    twin: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]


def drawn(rng, tree, dtype):
    """A value of its own for every leaf, none 0 or 1; biases that leave most ReLUs alive."""

    def leaf(path, x):
        normal = rng.standard_normal(x.shape)
        values = {
            "kernel": normal * math.prod(x.shape[:-1]) ** -0.5,
            "scale": np.exp(normal / 2),
            "var": np.exp(normal / 2),
            "bias": 0.5 + normal / 4,
        }
        return values.get(path[-1].key, normal / 4).astype(dtype)

    return jax.tree.map_with_path(leaf, tree)


def of_ours(graph, params, stats, inputs, mask, cotangent):
    """Outputs, the gradients by the parameters and by each input, the running statistics."""
    masks = (mask,) if stats else ()  # a head has no normalisation and takes none

    @jax.jit
    def run(params, stats, inputs, cotangent):
        def outputs(params, inputs):
            model: Any = nnx.merge(graph, params, stats)
            y = model(*inputs, *masks)
            return y, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

        y, pull, moved = jax.vjp(outputs, params, inputs, has_aux=True)
        return y, pull(cotangent), moved

    return jax.device_get(run(params, stats, inputs, cotangent))


def to_torch(x):
    return torch.tensor(np.moveaxis(x, -1, 1).copy() if x.ndim == 5 else x)


def from_torch(x):
    x = x.detach().numpy()
    return np.moveaxis(x, 1, -1) if x.ndim == 5 else x


def of_twin(module, params, stats, inputs, cotangent):
    """Outputs and the gradients by each input; the rest stays in the module."""
    with torch.no_grad():
        for tree in (params, stats):
            for _, tensor, value in transfer.pairs(module, tree):
                tensor.copy_(torch.tensor(value.copy()))
    given = [to_torch(x).requires_grad_() for x in inputs]
    y = module(*given)
    y.backward(to_torch(cotangent))
    return from_torch(y), [None if x.grad is None else from_torch(x.grad) for x in given]


def counted(module):
    """For each batch normalisation of the twin by name, over how many values it averages."""
    counts = {}
    for name, norm in module.named_modules():
        if isinstance(norm, transfer.BATCH_NORMS):

            def note(norm, inputs, output, name=name):
                counts[name] = inputs[0].numel() // inputs[0].shape[1]

            norm.register_forward_hook(note)
    return counts


def graph_and_shapes(pair, train):
    """What `nnx.merge` takes, with shapes for parameters and statistics."""
    module = nnx.eval_shape(lambda: pair.ours(nnx.Rngs(0)))
    if jax.tree.leaves(nnx.state(module, nnx.BatchStat)):
        module = nnx.view(module, use_running_average=not train)
    graph, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def output_shape(graph, params, stats, inputs):
    def run(params, stats, inputs):
        model: Any = nnx.merge(graph, params, stats)
        return model(*inputs)

    return jax.eval_shape(run, params, stats, inputs).shape


def near(name, value, expected, scale=0.0):
    """Within the tolerance of the type, relative to the largest entry (or to `scale`)."""
    assert value.dtype == expected.dtype, name
    largest = max(scale, np.abs(expected).max())
    assert largest > 0, name
    error = np.abs(value - expected).max() / largest
    assert error < TOLERANCE[value.dtype.name], f"{name}: {error:.1e} of the largest entry"


def check(pair: Pair, mode: str, dtype: str, shared_scale=False):
    train = mode != "evaluation"
    mask = MASK if mode == "masked" else np.ones(CLIPS, bool)
    rng = np.random.default_rng(0)
    graph, *shapes = graph_and_shapes(pair, train)
    params, stats = (drawn(rng, tree, dtype) for tree in shapes)
    inputs = [rng.standard_normal((CLIPS, *shape)).astype(dtype) for shape in pair.shapes]
    cotangent = rng.standard_normal(output_shape(graph, params, stats, inputs)).astype(dtype)
    cotangent[~mask] = 0
    theirs = pair.twin().to(getattr(torch, dtype)).train(train)
    counts = counted(theirs)

    y, (gradients, by_input), moved = of_ours(
        graph, params, stats, inputs, mask if mode == "masked" else None, cotangent
    )
    wanted, wanted_by_input = of_twin(
        theirs, params, stats, [x[mask] for x in inputs], cotangent[mask]
    )

    near("output", y[mask], wanted)
    for number, (value, expected) in enumerate(zip(by_input, wanted_by_input)):
        assert not value[~mask].any()
        if expected is None:  # the map that gives `up` its size
            assert not value.any()
        else:
            near(f"input {number}", value[mask], expected)
    check_gradients(theirs, gradients, shared_scale)
    check_statistics(theirs, stats, moved, counts, train)


def check_gradients(theirs, gradients, shared_scale):
    compared = list(transfer.pairs(theirs, gradients))
    assert len(compared) == len(list(theirs.parameters()))
    largest = max(tensor.grad.abs().max().item() for _, tensor, _ in compared)
    for name, tensor, gradient in compared:
        near(name, gradient, tensor.grad.numpy(), largest if shared_scale else 0.0)


def check_statistics(theirs, before, moved, counts, train):
    before = {name: value for name, _, value in transfer.pairs(theirs, before)}
    for name, tensor, value in transfer.pairs(theirs, moved):
        expected = tensor.numpy()
        if train and name.endswith("running_var"):
            # PyTorch keeps the variance with n - 1 in the denominator, ours with n.
            kept, count = 0.9 * before[name], counts[name.rpartition(".")[0]]
            expected = kept + (expected - kept) * (count - 1) / count
        near(name, value, expected)
        assert train != np.array_equal(value, before[name])
