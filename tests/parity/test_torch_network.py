"""Every block and the whole network against the PyTorch twin: same weights, outputs, gradients."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings
from mser_jax.models.affa import AFFA, CAM
from mser_jax.models.baselines.ststnet import STSTNet
from mser_jax.models.msres3d import Head, Upsample
from mser_jax.models.multiscale import RC1, RC2, RC3
from mser_jax.models.resnet3d import Basic, Bottleneck, Stem

torch = pytest.importorskip("torch", reason="needs pip install torch")
twin = pytest.importorskip("torch_twin")
transfer = pytest.importorskip("torch_transfer")

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("unoptimised")]

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}  # of the largest entry
MASK = np.array([True, False, True, True, True, True, True, False])
CLIPS = len(MASK)
STYLES = [
    BranchStyle(restore=restore, chain=chain, weights=weights)
    for restore, chain, weights in (
        ("last", "factorised", "softmax"),
        ("pointwise", "factorised", "free"),
        ("last", "depthwise", "free"),
        ("pointwise", "depthwise", "softmax"),
    )
]


@dataclasses.dataclass
class Pair:
    """A module of ours, its twin, and the shapes of their inputs without the clips, ours."""

    ours: Callable[[nnx.Rngs], Any]
    twin: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]


def style_of(style: BranchStyle | None):
    return None if style is None else twin.Style(**dataclasses.asdict(style))


def stem(attention):
    return Pair(
        lambda rngs: Stem(3, 4, attention=attention, rngs=rngs),
        lambda: twin.Stem(3, 4, attention),
        ((4, 18, 21, 3),),
    )


def unit(kind, c_in, stride):
    ours, c_out = (Basic, 4) if kind == "basic" else (Bottleneck, 16)
    return Pair(
        lambda rngs: ours(c_in, 4, stride, rngs=rngs),
        lambda: twin.Unit(kind, c_in, 4, c_out, stride),
        ((3, 5, 6, c_in),),
    )


def rc(number, style):
    ours = (RC1, RC2, RC3)[number - 1]
    theirs = (twin.rc1, twin.rc2, twin.RC3)[number - 1]
    return Pair(
        lambda rngs: ours(16, style, rngs=rngs),
        lambda: theirs(16, style_of(style)),
        ((3, 5, 4, 16),),
    )


BLOCKS = {
    "stem": stem(False),
    "stem with attention": stem(True),
    "basic": unit("basic", 4, 1),
    "basic with stride": unit("basic", 6, 2),
    "bottleneck": unit("bottleneck", 16, 1),
    "bottleneck with stride": unit("bottleneck", 8, 2),
    "bottleneck, wider": unit("bottleneck", 4, 1),
    **{
        f"RC{number} {style.restore} {style.chain} {style.weights}": rc(number, style)
        for number in (1, 2, 3)
        for style in STYLES
    },
    "CAM": Pair(lambda rngs: CAM(8, 4, rngs=rngs), lambda: twin.CAM(8, 4), ((2, 3, 3, 8),)),
    "AFFA": Pair(lambda rngs: AFFA(8, 4, rngs=rngs), lambda: twin.AFFA(8, 4), ((2, 3, 3, 8),) * 2),
    "up": Pair(
        lambda rngs: Upsample(8, 4, rngs=rngs),
        lambda: twin.Up(8, 4),
        ((1, 2, 3, 8), (2, 3, 5, 4)),
    ),
    "head": Pair(
        lambda rngs: Head(6, 5, 3, rngs=rngs), lambda: twin.Head(6, 5, 3), ((2, 3, 3, 6),)
    ),
    "STSTNet": Pair(
        lambda rngs: STSTNet(3, side=16, rngs=rngs),
        lambda: twin.STSTNet(3, side=16, dropout=0.0),
        ((1, 16, 16, 3),),
    ),
}

SMALL = MSRes3DSettings(classes=3, width=8, depths=(1, 1, 1, 1), hidden=6, channels=2)
BASIC = dataclasses.replace(SMALL, block="basic", cam_reduction=2)
# Without the fusion, a bottleneck after an RC would take its last biases out again: its 1x1x1 is
# normalised. So the RC are tested with the fusion, or with basic units.
PAPERS = dataclasses.replace(SMALL, depths=(1, 2, 1, 1))
OTHERS = {
    "basic, cascade": dataclasses.replace(
        BASIC, cascade=True, rc=dataclasses.replace(STYLES[3], reduction=2)
    ),
    "bottleneck, no RC, no fusion": dataclasses.replace(SMALL, rc=None, fusion=False),
    "basic, no attention, no fusion": dataclasses.replace(
        BASIC, attention=False, fusion=False, rc=dataclasses.replace(STYLES[1], reduction=2)
    ),
}


def network(settings):
    names = inspect.signature(twin.MSRes3D).parameters
    theirs = {name: getattr(settings, name) for name in names} | {"rc": style_of(settings.rc)}
    return Pair(
        lambda rngs: MSRes3D(settings, rngs=rngs),
        lambda: twin.MSRes3D(**theirs),
        ((8, 20, 34, settings.channels),),
    )


@pytest.fixture(params=TOLERANCE)
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


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


@pytest.mark.parametrize("mode", ["training", "masked", "evaluation"])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_its_twin(name, mode, dtype):
    check(BLOCKS[name], mode, dtype)


@pytest.mark.parametrize("mode", ["training", "masked", "evaluation"])
def test_the_papers_network_is_its_twin(mode, dtype):
    # In float32 what is left where a gradient's terms cancel is rounding: through the whole network
    # the gradients are compared by the largest entry of all.
    check(network(PAPERS), mode, dtype, shared_scale=dtype == "float32")


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("name", OTHERS)
def test_the_network_with_other_parts_is_its_twin(name, mode):
    with jax.enable_x64(True):
        check(network(OTHERS[name]), mode, "float64")
