"""STSTNet: its operations against JAX's own, its streams together against each alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mser_jax.models import functional
from mser_jax.models.baselines import ststnet
from mser_jax.models.baselines.ststnet import STSTNet
from mser_jax.models.ops import lanes

pytestmark = pytest.mark.usefixtures("unoptimised")

MASK = np.array([True, False, True, True, True])
TOY = functional(lambda rngs: STSTNet(3, side=10, rngs=rngs))


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def near(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)


def native_convolution(x, kernel, bias):
    layout = ("HCWN", "HWIO", "HCWN")
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout)
    return y + bias.reshape(1, -1, 1, 1)


def native_pool(x):
    around = ((1, 1), (0, 0), (1, 1), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (3, 1, 3, 1), (3, 1, 3, 1), around)


def native(images, kernel, bias, rises):
    """What `lanes` has: `[h', o, w', b]`, and the sums of the map and of its squares, `[o, b]`."""
    around = jnp.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]).transpose(1, 3, 2, 0)
    maps = jax.nn.relu(native_convolution(around, kernel, bias))
    signs = rises.reshape(1, -1, 1, 1)
    return native_pool(maps * signs) * signs, jnp.sum(maps, (0, 2)), jnp.sum(maps**2, (0, 2))


def ours(images, *others):
    pooled = lanes.conv_relu_pool(lanes.to_blocks(images), *others)
    return tuple(lanes.from_blocks(part)[..., : len(images)] for part in pooled)


def operands(*shape, channels=4, stack=()):
    """Images, kernel, bias, and the sign of each channel: two look for their minimum."""
    c = shape[-1]
    rises = np.broadcast_to(np.sign([1.0, -1, -1, 1], dtype=np.float32), (*stack, channels))
    weights = drawn(*stack, 3, 3, c, channels, seed=1), drawn(*stack, channels, seed=2)
    return drawn(*stack, *shape), *weights, rises


def outputs_and_gradients(function, operands):
    cotangents = [
        drawn(*part.shape, seed=9 + n) for n, part in enumerate(jax.eval_shape(function, *operands))
    ]

    def both(*operands):
        outputs, back = jax.vjp(function, *operands)
        return outputs, back(tuple(cotangents))[:3]

    return jax.jit(both)(*operands)


@pytest.mark.parametrize("lift", [lambda f: f, jax.vmap], ids=["alone", "vmap"])
@pytest.mark.parametrize("side", [7, 8, 9])
def test_convolution_and_pool_are_those_of_jax(side, lift):
    stack = () if lift(len) is len else (2,)
    given = operands(3, side, side + 1, 2, stack=stack)
    near(*(outputs_and_gradients(lift(function), given) for function in (ours, native)))


def test_clips_of_more_than_one_block_keep_their_places():
    given = operands(lanes.LANES + 3, 4, 5, 1)
    near(*(outputs_and_gradients(function, given) for function in (ours, native)))


def test_off_a_cpu_the_rows_are_made_at_once_with_the_same_result(monkeypatch):
    given = operands(3, 8, 7, 2)
    one = outputs_and_gradients(ours, given)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    near(one, outputs_and_gradients(lambda *given: ours(*given), given))


def test_the_gradient_by_the_images_costs_nothing_where_nobody_asks():
    images, *weights = operands(3, 8, 7, 2)

    def loops(*numbers):
        def total(*given):
            return sum(jnp.sum(part) for part in ours(*given))

        compiled = jax.jit(jax.grad(total, numbers)).lower(images, *weights).compile()
        return str(compiled.as_text()).count(" while(")

    assert loops(1, 2) < loops(0, 1, 2)


def test_of_equal_values_the_first_gets_the_gradient_of_the_pool():
    images, kernel = jnp.ones((1, 4, 4, 1)), np.zeros((3, 3, 1, 1), np.float32)
    bias, rises = jnp.ones(1), jnp.ones(1)

    def total(kernel):  # whose place of the map decides nothing: it is 1 everywhere
        return jnp.sum(ours(images, kernel, bias, rises)[0])

    # Windows of a 6x6 map begin at -1 and 2: the first places of theirs are 0 and 2.
    seen = np.zeros((8, 8))
    seen[2:6, 2:6] = 1
    wanted = sum(seen[row : row + 3, column : column + 3] for row in (0, 2) for column in (0, 2))
    np.testing.assert_array_equal(jax.grad(total)(kernel)[..., 0, 0], wanted)


def made(seed=0) -> STSTNet:
    """A small one, with every parameter and statistic drawn; some scales are negative."""
    model = STSTNet(3, side=10, rngs=nnx.Rngs(0))
    state = nnx.state(model)
    rng = np.random.default_rng(seed)
    moved = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), x.dtype), state)
    for name in ("bn1", "bn2", "bn3"):
        moved[name]["var"][...] = jnp.abs(moved[name]["var"][...]) + 0.1
    nnx.update(model, moved)
    return model


def stream_by_stream(model, x, mask):
    """As the authors' code has it, each stream by itself and in its order."""
    streams = ((model.conv1, model.bn1), (model.conv2, model.bn2), (model.conv3, model.bn3))
    pooled = []
    for conv, norm in streams:
        around = np.pad(x[:, 0], [(0, 0), (2, 2), (2, 2), (0, 0)]).transpose(1, 3, 2, 0)
        maps = native_convolution(around, conv.kernel[...][0], conv.bias[...].reshape(-1))
        maps = norm(jax.nn.relu(maps).transpose(3, 0, 2, 1)[:, None], mask)
        pooled.append(native_pool(maps[:, 0].transpose(1, 3, 2, 0)))
    maps = jnp.concatenate(pooled, axis=1)
    cells = jnp.stack([maps[a::2, :, b::2] for a in (0, 1) for b in (0, 1)]).mean(axis=0)
    return model.fc(cells.transpose(3, 1, 0, 2).reshape(len(x), -1))


@pytest.mark.parametrize("train", [True, False])
def test_streams_together_are_each_alone(train):
    x = drawn(5, 1, 10, 10, 3)

    def logits_and_statistics(forward):
        model = nnx.view(made(), use_running_average=not train)
        logits = forward(model, x, MASK).reshape(5, 3)[MASK]
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    run = jax.jit(logits_and_statistics, static_argnums=0)
    near(run(STSTNet.__call__), run(stream_by_stream))


def test_parameters_are_those_of_the_paper():
    model = STSTNet(3, rngs=nnx.Rngs(0))
    counts = {
        name: sum(map(jnp.size, jax.tree.leaves(nnx.state(part))))
        for name, part in model.__dict__.items()
        if isinstance(part, nnx.Module)
    }
    assert counts == {
        **{f"conv{n}": 28 * filters for n, filters in ((1, 3), (2, 5), (3, 8))},
        **{f"bn{n}": 4 * filters for n, filters in ((1, 3), (2, 5), (3, 8))},
        "fc": 400 * 3 + 3,
    }
    network = functional(lambda rngs: STSTNet(3, rngs=rngs))
    x = jnp.zeros((2, 1, 28, 28, 3))

    def logits():
        return network.apply(*network.init(jax.random.key(0)), x, None, True)[0]

    assert jax.eval_shape(logits).shape == (2, 1, 3)


def test_dropout_leaves_out_half_of_the_pooled_values_and_needs_a_key():
    x, keys = jnp.asarray(drawn(5, 1, 10, 10, 3)), jax.random.split(jax.random.key(0), 60)
    params, stats = TOY.init(keys[0])
    apply = jax.jit(lambda key: TOY.apply(params, stats, x, None, True, key)[0])
    kept, one, other = apply(None), apply(keys[0]), apply(keys[1])
    np.testing.assert_array_equal(one, apply(keys[0]))
    assert np.all(one != kept)
    assert np.all(one != other)
    many = jax.vmap(apply)(keys)
    spread = np.std(many, axis=0) / len(many) ** 0.5
    assert np.all(np.abs(np.mean(many, axis=0) - kept) < 5 * spread)


def test_a_coin_falls_on_either_side_equally_often():
    for shape in ((64, 64), (3, 5, 7)):  # the second is no multiple of the 32 bits of a word
        coins = np.asarray(ststnet.random_bits(jax.random.key(1), shape))
        assert coins.shape == shape
        assert set(np.unique(coins)) == {0, 1}
        assert abs(coins.mean() - 0.5) < 2.5 / coins.size**0.5  # five deviations
