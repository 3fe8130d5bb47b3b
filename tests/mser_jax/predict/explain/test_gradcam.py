"""Grad-CAM against derivatives taken by hand, and the check of Adebayo et al. (2018)."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.special import softmax
from scipy.stats import spearmanr

from mser_jax.models import MSRes3D, MSRes3DSettings, functional
from mser_jax.predict.explain import gradcam

pytestmark = pytest.mark.usefixtures("unoptimised")

FULL = MSRes3DSettings(
    **{"classes": 3, "channels": 2, "block": "basic", "width": 4, "depths": (1, 1, 1, 1)},
    **{"hidden": 8, "cascade": True},
)
BARE = dataclasses.replace(FULL, attention=False, rc=None, fusion=False)
LEAN = dataclasses.replace(FULL, classes=2, width=8, rc=None, cascade=False)
SETTINGS = {"full": FULL, "lean": LEAN, "bare": BARE}
SEEN = {  # stages of each head
    "full": [[1, 1, 1, 1]] * 4,
    "lean": [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]],
    "bare": [[1, 1, 1, 1]],
}
STEPS, SIDE = 4, 32
SIZES = ((2, 8, 8), (1, 4, 4), (1, 2, 2), (1, 1, 1))  # of X2 to X5
TARGET, SMALL = 1, 1e-6


def network(settings):
    return functional(lambda rngs: MSRes3D(settings, rngs=rngs))


def start(settings, seed=0):
    """Weights and running statistics as a training finds them."""
    return jax.device_get(jax.jit(network(settings).init)(jax.random.key(seed)))


def jumbled(tree, seed):
    random = np.random.default_rng(seed)

    def moved(leaf):
        return (leaf + 0.1 * random.standard_normal(leaf.shape)).astype(leaf.dtype)

    return jax.tree.map(moved, tree)


@functools.cache
def state(name):
    """Weights and running statistics, none of which is as it was at the start."""
    params, stats = start(SETTINGS[name])
    return jumbled(params, 1), jax.tree.map(np.abs, jumbled(stats, 2))


@functools.cache
def clip():
    return np.random.default_rng(3).standard_normal((STEPS, SIDE, SIDE, 2)).astype(np.float32)


def explain(settings, params, stats, x, target):
    """With the lowering that is compiled soonest; what is compared with it takes another one."""
    return gradcam.explain(settings, params, stats, x, target=target, lowering="xla")


@functools.cache
def explained(name):
    return explain(SETTINGS[name], *state(name), clip(), TARGET)


def module(settings, params, stats) -> Any:
    """The network itself, as it answers."""
    abstract = nnx.eval_shape(lambda: MSRes3D(settings, rngs=nnx.Rngs(0)))
    graph = nnx.split(nnx.view(abstract, use_running_average=True), nnx.Param, nnx.BatchStat)[0]
    return nnx.merge(graph, params, stats)


def moves(widths):
    """What is added to X2 to X5, `[n, *map]` each: nothing; then for each stage in turn, where the
    others stay, a little to all of one channel, as little less, and three times noise.
    """
    random, of_stages = np.random.default_rng(4), []
    for size, width in zip(SIZES, widths):
        step = np.broadcast_to(SMALL * np.eye(width)[:, None, None, None], (width, *size, width))
        of_stages.append(np.concatenate([step, -step, random.standard_normal((3, *size, width))]))
    ends = np.cumsum([1, *map(len, of_stages)])
    added = [np.zeros((ends[-1], *of_stage.shape[1:])) for of_stage in of_stages]
    for every, start, of_stage in zip(added, ends, of_stages):
        every[start : start + len(of_stage)] = of_stage
    return added, [slice(*pair) for pair in itertools.pairwise(ends)]


@functools.cache
def by_differences(name):
    """In float64: logits, and of each stage the map, its gradients, and whether a head sees it.

    The gradients are `[c, k]`, of the target's logits, by all of a channel: it is moved at once.
    """
    settings = SETTINGS[name]

    def program(params, stats, x, added):
        model = module(settings, params, stats)
        y, maps = jnp.repeat(model.stem(x[None]), len(added[0]), axis=0), []
        for number, move in enumerate(added):
            y = model.stage(number, y) + move
            maps.append(y)
        return model.head_logits(maps), [each[0] for each in maps]

    added, blocks = moves([settings.width * 2**stage for stage in range(4)])
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (*state(name), clip()))
        logits, maps = jax.device_get(jax.jit(program)(*wide, added))
    found = []
    for of_stage, block in zip(maps, blocks):
        width, moved = of_stage.shape[-1], logits[block, :, TARGET]
        slopes = (moved[:width] - moved[width : 2 * width]) / (2 * SMALL)
        found.append((of_stage, slopes, np.ptp(moved[2 * width :], axis=0) > 1e-9))
    return logits[0], found


@pytest.mark.parametrize("name", SETTINGS)
def test_a_map_is_the_sum_of_channels_weighed_by_their_mean_gradients(name):
    reason = explained(name)
    for stage, (of_stage, slopes, _) in enumerate(by_differences(name)[1]):
        weights = slopes / of_stage[..., 0].size
        wanted = np.maximum(np.einsum("ck,thwc->kthw", weights, of_stage), 0)
        largest = wanted.max(axis=(1, 2, 3), keepdims=True)
        step, pixel = 2 * 2**stage, 4 * 2**stage  # from an entry of the map to the next
        got = reason.cams[:, stage, ::step, ::pixel, ::pixel]
        np.testing.assert_allclose(got, wanted / np.where(largest > 0, largest, 1), atol=2e-3)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_head_sees_the_stages_that_move_its_answer(name):
    moved = np.stack([seen for *_, seen in by_differences(name)[1]], axis=1)
    np.testing.assert_array_equal(moved, np.array(SEEN[name], bool))
    np.testing.assert_array_equal(explained(name).uses_stage, moved)


@pytest.mark.parametrize("name", SETTINGS)
def test_maps_lie_over_the_clip_between_zero_and_one(name):
    reason = explained(name)
    assert reason.cams.shape == (SETTINGS[name].heads, 4, *clip().shape[:3])
    assert reason.sizes == SIZES
    assert reason.cams.min() >= 0
    largest = reason.cams.max(axis=(2, 3, 4))
    assert set(np.unique(largest)) <= {0.0, 1.0}
    assert largest.any()
    assert not largest[~reason.uses_stage].any()


@pytest.mark.parametrize("name", SETTINGS)
def test_logits_are_the_networks_own(name):
    reason = explained(name)
    np.testing.assert_allclose(reason.logits, by_differences(name)[0], rtol=1e-3, atol=1e-4)
    wanted = softmax(reason.logits, axis=1)
    np.testing.assert_allclose(reason.probabilities, wanted, rtol=1e-5, atol=1e-7)
    assert reason.target == TARGET


def test_the_class_of_the_surest_head_is_explained_by_default():
    params, stats = state("full")
    biases = [[50, 49.9, 0], [-50, -50, -40], [0, 0, 0], [0, 0, 0]]  # the second is the surest
    heads = {
        number: head | {"second": jax.tree.map(np.zeros_like, head["second"])}
        for number, head in params["heads"].items()
    }
    for number, bias in enumerate(biases):
        heads[number]["second"]["bias"] += np.asarray(bias, np.float32)
    assert explain(FULL, params | {"heads": heads}, stats, clip(), None).target == 2
    with pytest.raises(ValueError, match="no class 3"):
        explain(FULL, *state("full"), clip(), 3)


def test_the_attention_is_what_the_stem_multiplies_by():
    reason, model = explained("full"), module(FULL, *state("full"))

    @jax.jit
    def around(x):
        before = model.stem.conv(x)
        return before, model.stem.attention(before)

    before, after = around(clip()[None])
    assert reason.time_weights is not None
    assert reason.space_weights is not None
    by = reason.time_weights[:, None, None, None] * reason.space_weights[None, :, :, None]
    np.testing.assert_allclose(after[0], before[0] * by, rtol=1e-4, atol=1e-6)
    assert (reason.time_weights.shape, reason.space_weights.shape) == ((STEPS,), (16, 16))


def test_branches_have_the_weights_of_their_sums():
    branches, rc = explained("full").branches, state("full")[0]["rc"]
    assert list(branches) == ["RC1", "RC2", "RC3"]
    for number, of_one in enumerate(branches.values()):
        raw = np.exp(np.asarray(rc[number]["fuse"]["weights"], np.float64))
        np.testing.assert_allclose([w for _, w in of_one], raw / raw.sum(), rtol=1e-5)
    assert [name for name, _ in branches["RC3"]][6:] == ["1x1x1", "global average"]


def test_what_is_switched_off_is_absent():
    reason = explained("bare")
    assert reason.time_weights is None
    assert reason.space_weights is None
    assert reason.branches == {}


def test_between_the_entries_of_a_map_it_is_linear():
    of_x2 = explained("full").cams[:, 0]
    assert of_x2.any()
    between = (of_x2[:, 0:-2:2] + of_x2[:, 2::2]) / 2
    np.testing.assert_allclose(of_x2[:, 1:-1:2], between, atol=1e-6)
    np.testing.assert_allclose(of_x2[:, -1], of_x2[:, -2], atol=1e-6)
    quarter = 0.75 * of_x2[..., 0:-4:4] + 0.25 * of_x2[..., 4::4]
    np.testing.assert_allclose(of_x2[..., 1:-4:4], quarter, atol=1e-6)


@pytest.mark.parametrize(("axis", "size", "stride"), [(1, (33, 5, 5), 2), (2, (1, 65, 5), 4)])
def test_an_entry_of_a_map_lies_in_the_middle_of_what_it_sees(axis, size, stride):
    """Where all weights are positive, a bright pixel is seen by every entry that it can reach."""
    settings = dataclasses.replace(BARE, channels=1, width=2)
    params, stats = start(settings)
    model = module(settings, jax.tree.map(lambda leaf: np.abs(leaf) + 0.1, params), stats)
    pixels = size[axis - 1]
    bright = np.zeros((pixels + 1, *size, 1), np.float32)  # the last clip is dark
    for pixel in range(pixels):
        bright[(pixel, *(pixel if a == axis else n // 2 for a, n in enumerate(size, 1)))] = 1
    x2 = jax.jit(lambda x: model.stage(0, model.stem(x)))(bright)
    x3 = jax.jit(lambda x: model.stage(1, x))(x2)
    for x, step in ((x2, stride), (x3, 2 * stride)):
        values = np.asarray(x)
        moved = np.moveaxis(values[:-1] != values[-1:], axis, 1)
        seen = moved.reshape(pixels, moved.shape[1], -1).any(axis=-1)  # by pixel and entry
        entry = seen.shape[1] // 2
        first, last = np.flatnonzero(seen[:, entry])[[0, -1]]
        assert first > 0
        assert last < pixels - 1
        assert (first + last) / 2 == entry * step


RADIUS, CLIPS, TRAININGS = 5, 8, (0, 1, 2)
FROM_THE_HEAD_DOWN = (("heads",), ("affa", "up"), ("blocks",), ("stem",))


@functools.cache
def moving(count, seed):
    """Flow with two blobs in noise: one moves to the left, class 0, or right; one up or down.

    Returns the clips, their classes, and where the two blobs are, `[2, count, SIDE, SIDE]` bool.
    """
    random = np.random.default_rng(seed)
    x = random.normal(0, 0.15, (count, STEPS, SIDE, SIDE, 2))
    ways = random.integers(0, 2, (2, count, 1, 1))
    upper = random.integers(0, 2, (count, 1, 1))  # which of the two is
    row = random.integers(RADIUS, 2 * RADIUS, (2, count, 1, 1))
    row = row + (SIDE - 3 * RADIUS) * np.stack([upper, 1 - upper])
    column = random.integers(RADIUS, SIDE - RADIUS, (2, count, 1, 1))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = (rows - row) ** 2 + (columns - column) ** 2
    blobs = np.moveaxis(np.exp(-distance / 18) * (2 * ways - 1), 0, -1)
    x += blobs[:, None] * np.linspace(0.5, 1.5, STEPS)[None, :, None, None, None]
    return x.astype(np.float32), ways[0].ravel(), distance <= RADIUS**2


@functools.cache
def training():
    """A compiled training of 100 steps of Adam: `(key, batches) -> (params, stats)`."""
    of, adam = network(LEAN), optax.adam(3e-3)

    def step(carry, batch):
        (params, stats, moments), (x, label) = carry, batch

        def loss(params):
            logits, moved = of.apply(params, stats, x, None, True)
            answers = jnp.repeat(label[:, None], LEAN.heads, axis=1)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, answers)
            return losses.mean(), moved

        gradient, stats = jax.grad(loss, has_aux=True)(params)
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, updates), stats, moments), None

    def whole(key, batches):
        params, stats = of.init(key)
        (params, stats, _), _ = jax.lax.scan(step, (params, stats, adam.init(params)), batches)
        return params, stats

    return jax.jit(whole)


@functools.cache
def trained(seed):
    """Weights and running statistics."""
    x, label, _ = moving(100 * 8, seed=1)
    batches = x.reshape(100, 8, *x.shape[1:]), label.reshape(100, 8)
    return training()(jax.random.key(seed), batches)


@functools.cache
def before(seed):
    """The trained network's maps of clips that it was not trained on."""
    x, label, _ = moving(CLIPS, seed=2)
    return finest(trained(seed), x, label)


def finest(weights, clips, classes):
    """For each clip the map of X2 for the head that is surest of the class, `[t, h, w]`."""
    (params, stats), maps = weights, []
    for x, target in zip(clips, classes):
        reason = explain(LEAN, params, stats, x, int(target))
        maps.append(reason.cams[reason.probabilities[:, target].argmax(), 0])
    return maps


def answered(weights, clips):
    """The class that each head gives each clip, `[n, k]`."""
    params, stats = weights
    given = [explain(LEAN, params, stats, x, None).logits for x in clips]
    return np.argmax(given, axis=-1)


def randomised(other, parts):
    """The first trained network with some parts of another one, which is not trained."""
    return tuple(
        {part: (new if part in parts else old)[part] for part in old}
        for old, new in zip(trained(0), other)
    )


def alike(maps, others):
    """Spearman's correlation of the ranks, the mean over the clips that have a map at first."""
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(maps, others) if a.any()]
    assert len(pairs) > len(maps) / 2
    return np.mean([spearmanr(a, b)[0] if b.any() else 0.0 for a, b in pairs])  # type: ignore


def over_chance(maps, places):
    """How much more of the maps lies there than on as many pixels anywhere, on average."""
    shares = [
        x[:, there].sum() / max(x.sum(), 1e-9) / there.mean() for x, there in zip(maps, places)
    ]
    return np.mean(shares)


def test_the_map_of_a_trained_network_lies_on_what_decides():
    """And not on what moves as much and decides nothing; in most trainings, for none must."""
    x, label, (deciding, idle) = moving(CLIPS, seed=2)
    shares = []
    for seed in TRAININGS:
        answers = answered(trained(seed), x)
        assert (answers == label[:, None]).mean() > 0.9
        shares.append([over_chance(before(seed), places) for places in (deciding, idle)])
    on, beside = np.transpose(shares)
    assert np.median(on) > 1.3
    assert np.median(on / beside) > 1.3


def test_the_map_changes_with_the_weights():
    """The randomisation of the parameters in cascade, from the head down (Adebayo et al. 2018)."""
    x, label, _ = moving(CLIPS, seed=2)
    again = finest(trained(0), x, label)
    assert all(np.array_equal(one, other) for one, other in zip(before(0), again))
    assert alike(before(0), again) == pytest.approx(1)
    likeness = []
    for seed in (11, 12):
        other, parts = start(LEAN, seed), []
        for more in FROM_THE_HEAD_DOWN:
            parts += more
            likeness.append(alike(before(0), finest(randomised(other, parts), x, label)))
        assert set(parts) == set(trained(0)[0])
    of_parts = np.mean(np.reshape(likeness, (2, -1)), axis=0)
    assert (of_parts < 0.8).all()
    assert of_parts[-1] < 0.4
