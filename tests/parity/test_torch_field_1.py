"""OFF-ApexNet, Dual-Inception and HTNet against twins in PyTorch: same weights, same answers."""

# pyright: reportMissingImports=false

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from flax import nnx

from mser_jax.models.baselines.dual_inception import DualInception
from mser_jax.models.baselines.htnet import HTNet, HTNetSettings
from mser_jax.models.baselines.off_apexnet import OFFApexNet

torch = pytest.importorskip("torch", reason="needs pip install torch")
nn, functional = torch.nn, torch.nn.functional

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("unoptimised")]

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}  # of the largest entry
HIDDEN = 1024


def flat(*maps):
    """As ours lie: channels last."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in maps], 1)


class TwinOFFApexNet(nn.Module):
    def __init__(self, side):
        super().__init__()
        self.u, self.v = (
            nn.Sequential(
                *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(6, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            )
            for _ in range(2)
        )
        self.fc1 = nn.Linear(2 * 16 * (side // 4) ** 2, HIDDEN)
        self.fc2, self.fc3 = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 3)

    def forward(self, x):
        hidden = self.fc1(flat(self.u(x[:, :1]), self.v(x[:, 1:]))).relu()
        return self.fc3(self.fc2(hidden).relu())


class TwinInception(nn.Module):
    def __init__(self, c_in, c):
        super().__init__()
        self.a, self.b1, self.c1, self.d = (nn.Conv2d(c_in, c, 1) for _ in range(4))
        self.b2, self.c2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 5, padding=2)

    def forward(self, x):
        around = functional.max_pool2d(x, 3, 1, 1)
        branches = [self.a(x), self.b2(self.b1(x).relu()), self.c2(self.c1(x).relu())]
        return functional.max_pool2d(torch.cat([*branches, self.d(around)], 1).relu(), 2)


class TwinDualInception(nn.Module):
    def __init__(self, side):
        super().__init__()
        self.u, self.v = (
            nn.Sequential(TwinInception(1, 6), TwinInception(24, 16)) for _ in range(2)
        )
        self.fc1 = nn.Linear(2 * 64 * (side // 4) ** 2, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, 3)

    def forward(self, x):
        return self.fc2(self.fc1(flat(self.u(x[:, :1]), self.v(x[:, 1:]))).relu())


class TwinLayer(nn.Module):
    """Tokens `[block, token, channel]`; heads by PyTorch's own attention."""

    def __init__(self, width, heads, expansion):
        super().__init__()
        inner = width // heads * heads
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, width)
        self.fc1, self.fc2 = (
            nn.Linear(width, expansion * width),
            nn.Linear(expansion * width, width),
        )

    def forward(self, x):
        normed = self.norm1(x)
        heads = [
            part(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        ]
        x = x + self.out(functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class TwinHTNet(nn.Module):
    def __init__(self, side, settings):
        super().__init__()
        levels = len(settings.repeats)
        widths = [settings.width << level for level in range(levels)]
        self.tokens = side // settings.patch >> levels - 1  # along the side of a block
        self.embed = nn.Conv2d(settings.channels, widths[0], settings.patch, settings.patch)
        self.positions = nn.ParameterList(torch.zeros(self.tokens, self.tokens) for _ in widths)
        self.levels = nn.ModuleList(
            nn.ModuleList(
                TwinLayer(width, settings.heads << level, settings.expansion)
                for _ in range(repeats)
            )
            for level, (width, repeats) in enumerate(zip(widths, settings.repeats))
        )
        self.joins = nn.ModuleList(
            nn.Conv2d(*pair, 3, padding=1) for pair in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:])
        self.norm, self.fc = nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], 3)

    def forward(self, x):
        half = x.shape[-1] // 4
        places = [[(9, 11), (21, 10)], [(10, 22), (20, 22)]]

        def area(place):
            top, left = np.clip(np.array(place) * x.shape[-1] // 28, half, 3 * half) - half
            return x[:, :, top : top + 2 * half, left : left + 2 * half]

        x = torch.cat([torch.cat([area(place) for place in row], 3) for row in places], 2)
        x = self.embed(x)
        for number, (position, level) in enumerate(zip(self.positions, self.levels)):
            for_each_block = torch.empty_like(x)
            for top, left in itertools.product(range(0, x.shape[2], self.tokens), repeat=2):
                there = (
                    ...,
                    slice(top, top + self.tokens),
                    slice(left, left + self.tokens),
                )
                tokens = (x[there] + position).flatten(2).transpose(1, 2)
                for layer in level:
                    tokens = layer(tokens)
                for_each_block[there] = tokens.transpose(1, 2).unflatten(2, position.shape)
            x = for_each_block
            if number < len(self.joins):
                joined = self.norms[number](self.joins[number](x).movedim(1, 3)).movedim(3, 1)
                x = functional.max_pool2d(joined, 3, 2, 1)
        return self.fc(self.norm(x.movedim(1, 3)).mean((1, 2)))


# For each parameter of a twin the leaf of a tree of ours, in the twin's layout.


def weights(twin, ours) -> Any:
    """Pairs of the twin's parameter and our leaf, for a layer of one kernel."""
    kernel = np.asarray(ours["kernel"])
    kernel = kernel.reshape(kernel.shape[-2:] if twin.weight.ndim == 2 else kernel.shape)
    order = (1, 0) if kernel.ndim == 2 else (4, 3, 0, 1, 2)
    yield twin.weight, kernel.transpose(order).reshape(twin.weight.shape)
    if twin.bias is not None:
        yield twin.bias, np.asarray(ours["bias"]).reshape(-1)


def norms(twin, ours):
    yield twin.weight, np.asarray(ours["scale"]).reshape(-1)
    yield twin.bias, np.asarray(ours["bias"]).reshape(-1)


def of_off_apexnet(twin, ours):
    for name in "uv":
        stream = getattr(twin, name)
        yield from weights(stream[0], ours[name]["first"]["conv"])
        yield from weights(stream[3], ours[name]["second"]["conv"])
    for theirs, name in ((twin.fc1, "first"), (twin.fc2, "second"), (twin.fc3, "last")):
        yield from weights(theirs, ours[name])


def of_dual_inception(twin, ours):
    for name, (number, block) in itertools.product("uv", enumerate(("first", "second"))):
        theirs, own = getattr(twin, name)[number], ours[name][block]
        yield from weights(theirs.a, own["one"]["conv"])
        yield from weights(theirs.d, own["pooled"]["conv"])
        for letter, branch in (("b", "three"), ("c", "five")):
            for place in (0, 1):
                layer = getattr(theirs, f"{letter}{place + 1}")
                yield from weights(layer, own[branch]["layers"][place]["conv"])
    yield from weights(twin.fc1, ours["first"])
    yield from weights(twin.fc2, ours["last"])


def of_htnet(twin, ours):
    # Of a patch ours has rows, columns, channels in turn.
    kernel, shape = np.asarray(ours["embed"]["kernel"]), twin.embed.weight.shape
    patches = kernel.reshape(*shape[2:], shape[1], shape[0])
    yield twin.embed.weight, patches.transpose(3, 2, 0, 1)
    yield twin.embed.bias, np.asarray(ours["embed"]["bias"]).reshape(-1)
    for number, (position, level) in enumerate(zip(twin.positions, twin.levels)):
        own = ours["levels"][number]
        yield position, np.asarray(own["position"]).reshape(position.shape)
        for place, layer in enumerate(level):
            attention, feed = (own["layers"][2 * place + part] for part in (0, 1))
            yield from norms(layer.norm1, attention["norm"])
            for theirs, name in ((layer.q, "query"), (layer.k, "key"), (layer.v, "value")):
                yield from weights(theirs, attention[name])
            yield from weights(layer.out, attention["out"])
            yield from norms(layer.norm2, feed["norm"])
            yield from weights(layer.fc1, feed["first"])
            yield from weights(layer.fc2, feed["second"])
    for number, (join, norm) in enumerate(zip(twin.joins, twin.norms)):
        yield from weights(join, ours["aggregates"][number]["conv"])
        yield from norms(norm, ours["aggregates"][number]["norm"])
    yield from norms(twin.norm, ours["norm"])
    yield from weights(twin.fc, ours["last"])


class Pair(NamedTuple):
    """A network of ours, its twin, how their parameters pair, and the image."""

    ours: Callable[[nnx.Rngs], Any]
    twin: Callable[[], Any]
    pairs: Callable[[Any, Any], Any]
    side: int
    channels: int


SEVERAL = HTNetSettings(patch=2, width=7, heads=2, repeats=(1, 2), expansion=3)  # tokens a block
ALONE = HTNetSettings(channels=2, patch=3, width=8, heads=3, repeats=(1, 1, 2))  # as published
PAIRS = {
    "OFF-ApexNet": Pair(
        lambda rngs: OFFApexNet(3, side=14, rngs=rngs),
        lambda: TwinOFFApexNet(14),
        *(of_off_apexnet, 14, 2),
    ),
    "Dual-Inception": Pair(
        lambda rngs: DualInception(3, side=14, rngs=rngs),
        lambda: TwinDualInception(14),
        *(of_dual_inception, 14, 2),
    ),
    "HTNet": Pair(
        lambda rngs: HTNet(3, side=16, settings=SEVERAL, rngs=rngs),
        lambda: TwinHTNet(16, SEVERAL),
        *(of_htnet, 16, 3),
    ),
    "HTNet, a token a block": Pair(
        lambda rngs: HTNet(3, side=12, settings=ALONE, rngs=rngs),
        lambda: TwinHTNet(12, ALONE),
        *(of_htnet, 12, 2),
    ),
}


@pytest.fixture(params=TOLERANCE)
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def drawn(rng, tree, dtype):
    """A value of its own for every leaf, none 0 or 1."""

    def leaf(path, x):
        normal = rng.standard_normal(x.shape)
        values = {
            "kernel": normal * np.prod(x.shape[:-1]) ** -0.5,
            "scale": np.exp(normal / 2),
            "bias": 0.1 + normal / 4,
        }
        return values.get(path[-1].key, normal).astype(dtype)

    return jax.tree.map_with_path(leaf, tree)


def near(name, value, expected, largest):
    error = np.abs(value - expected).max() / largest
    assert value.dtype == expected.dtype, name
    assert error < TOLERANCE[value.dtype.name], f"{name}: {error:.1e} of the largest entry"


@pytest.mark.parametrize("name", PAIRS)
def test_a_network_is_its_twin(name, dtype):
    pair, rng = PAIRS[name], np.random.default_rng(0)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: pair.ours(nnx.Rngs(0))), nnx.Param)
    params = drawn(rng, nnx.to_pure_dict(shapes), dtype)
    x = rng.standard_normal((4, 1, pair.side, pair.side, pair.channels)).astype(dtype)
    cotangent = rng.standard_normal((4, 1, 3)).astype(dtype)

    @jax.jit
    def run(params, x):
        logits, back = jax.vjp(lambda params, x: nnx.merge(graph, params)(x), params, x)
        return logits, *back(cotangent)

    logits, gradients, by_image = jax.device_get(run(params, x))
    twin = pair.twin().to(getattr(torch, dtype))
    paired = list(pair.pairs(twin, params))
    assert len({id(theirs) for theirs, _ in paired}) == len(list(twin.parameters()))
    assert len(paired) == len(jax.tree.leaves(params))
    with torch.no_grad():
        for theirs, own in paired:
            theirs.copy_(torch.tensor(own.copy()))
    given = torch.tensor(x[:, 0].transpose(0, 3, 1, 2).copy()).requires_grad_()
    wanted = twin(given)
    wanted.backward(torch.tensor(cotangent[:, 0]))

    wanted = wanted.detach().numpy()
    near("logits", logits[:, 0], wanted, np.abs(wanted).max())
    wanted = given.grad.numpy()
    near("image", by_image[:, 0].transpose(0, 3, 1, 2), wanted, np.abs(wanted).max())
    names = {id(value): name for name, value in twin.named_parameters()}
    largest = max(theirs.grad.abs().max().item() for theirs, _ in paired)
    for theirs, own in pair.pairs(twin, gradients):
        near(names[id(theirs)], own, theirs.grad.numpy(), largest)
