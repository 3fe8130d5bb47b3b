"""TV-L1 against movements that are known, and against scikit-image's TV-L1."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data
from skimage.registration import optical_flow_tvl1

from data_prep import config
from data_prep.common.errors import UserError
from data_prep.stages import face, flow, flow_images
from data_prep.synthetic.clips import SyntheticSource

SETTINGS: dict[str, Any] = config.recipe().to_dict()["flow"]
SIDE = 64
INNER = slice(6, -6)  # what leaves the frame cannot be matched


def texture(x, y):
    """A smooth pattern that is known between the pixels too."""
    waves = [(0.31, 0.12, 0.0), (-0.15, 0.36, 1.0), (0.45, -0.38, 2.0), (0.09, 0.55, 4.0)]
    return 128 + 25 * sum(np.sin(a * x + b * y + phase) for a, b, phase in waves)


def moved(matrix, shift, side=SIDE):
    """Two float32 frames and the flow between them: each pixel p goes to matrix @ p + shift."""
    y, x = np.mgrid[:side, :side].astype(np.float64)
    places = np.stack([x, y], axis=-1)
    sources = (places - shift) @ np.linalg.inv(matrix).T
    frames = np.stack([texture(x, y), texture(sources[..., 0], sources[..., 1])])
    return frames.astype(np.float32), places @ np.transpose(matrix) + shift - places


def face_frames(shift):
    """A face and the same face moved by whole pixels of the photograph, both made 4x smaller."""
    photograph = data.astronaut().mean(axis=-1)

    def view(down, right):
        part = photograph[down : down + 256, right + 96 : right + 352]
        return part.reshape(64, 4, 64, 4).mean(axis=(1, 3))

    frames = np.stack([view(8, 8), view(8 - round(4 * shift[1]), 8 - round(4 * shift[0]))])
    return frames.astype(np.float32)


def error(found, truth):
    return np.linalg.norm(found - truth, axis=-1)[INNER, INNER].mean()


@pytest.mark.parametrize("shift", [(0.3, 0.0), (-0.4, 0.7), (1.5, -1.0), (-4.0, 2.5)])
def test_translation(shift):
    frames, truth = moved(np.eye(2), shift)
    found = flow.flow(frames, **SETTINGS)
    assert found.shape == (1, SIDE, SIDE, 2)
    assert found.dtype == np.float32
    assert error(found[0], truth) < 0.03


def test_affine():
    turn, stretch = 0.015, 1.02
    matrix = stretch * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    frames, truth = moved(matrix, (-0.4, 0.2))
    assert error(flow.flow(frames, **SETTINGS)[0], truth) < 0.1 * np.abs(truth).max()


def test_no_movement_is_no_flow():
    frames, _ = moved(np.eye(2), (0.0, 0.0))
    np.testing.assert_array_equal(flow.flow(frames, **SETTINGS), 0.0)


def test_flat_frames_of_other_brightness_do_not_move():
    frames = np.stack([np.full((SIDE, SIDE), light, np.float32) for light in (90, 110)])
    np.testing.assert_array_equal(flow.flow(frames, **SETTINGS), 0.0)


def test_reference_first_and_previous():
    start, middle = moved(np.eye(2), (0.5, 0.0))[0]
    end = moved(np.eye(2), (0.5, 0.8))[0][1]
    frames = np.stack([start, middle, end])
    first = flow.flow(frames, **{**SETTINGS, "reference": "first"})
    previous = flow.flow(frames, **{**SETTINGS, "reference": "previous"})
    np.testing.assert_allclose(np.median(first, axis=(1, 2)), [[0.5, 0], [0.5, 0.8]], atol=0.03)
    np.testing.assert_allclose(np.median(previous, axis=(1, 2)), [[0.5, 0], [0, 0.8]], atol=0.03)
    with pytest.raises(UserError, match="first"):
        flow.flow(frames, **{**SETTINGS, "reference": "last"})


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """All pairs of a clip at once, the way of an accelerator."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    yield
    jax.clear_caches()


def tvl1(pairs, **changes):
    """One level and two warps, which compile in little time."""
    settings = {name: value for name, value in SETTINGS.items() if name != "reference"}
    small = {"scales": 1, "warps": 2, "iterations": 12}
    return np.asarray(flow.tvl1(*np.swapaxes(pairs, 0, 1), **{**settings, **small, **changes}))


def check_pairs_stand_alone(epsilon):
    shifts = [(0.2, 0.1), (1.2, -0.8), (0.0, 0.0)]
    pairs = [moved(np.eye(2), shift, side=32)[0] for shift in shifts]
    together = tvl1(pairs, epsilon=epsilon)
    alone = np.stack([tvl1([pair] * 3, epsilon=epsilon)[0] for pair in pairs])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.02])
def test_a_pair_does_not_depend_on_its_neighbours(epsilon):
    check_pairs_stand_alone(epsilon)


@pytest.mark.parametrize("epsilon", [0.0, 0.02])
def test_a_pair_does_not_depend_on_its_neighbours_on_a_gpu(as_on_a_gpu, epsilon):
    check_pairs_stand_alone(epsilon)


def test_epsilon_ends_the_iterations_of_each_pair():
    """Halving a number until it changes by less than 1: the counts tell when each one ended."""

    def halve(state):
        (u, v), ((rounds, same), dual_v) = state
        return (u / 2, v), ((rounds + 1, same), dual_v)

    def rounds(start):
        nothing = (jnp.zeros_like(start), jnp.zeros_like(start))
        state = (start, nothing[0]), (nothing, nothing)
        _, ((count, _), _) = flow._repeat(halve, state, max_iterations=23, epsilon=1.0)
        return count

    starts = jnp.array([0.5, 40.0, 1e4, 1e9])[:, None]
    # Looked at after 5, 10, 15 and 20 iterations, and at the most.
    np.testing.assert_array_equal(jax.vmap(rounds)(starts)[:, 0], [5, 10, 15, 23])


def test_epsilon_ends_early():
    pairs = [moved(np.eye(2), (-0.4, 0.7), side=32)[0]] * 3
    early = tvl1(pairs, epsilon=1e3)
    np.testing.assert_allclose(early, tvl1(pairs, iterations=flow.CHECK_EVERY), atol=1e-5)


def test_gain_removes_flicker_and_no_movement():
    shift = (0.5, -0.75)
    frames = face_frames(shift)
    steady = error(flow.flow(frames, **SETTINGS)[0], shift)
    frames[1] *= 0.97
    assert error(flow.flow(frames, **SETTINGS)[0], shift) < steady + 0.01
    assert error(flow.flow(frames, **{**SETTINGS, "gain": False})[0], shift) > 2 * steady
    np.testing.assert_array_equal(flow.flow(np.zeros_like(frames), **SETTINGS), 0.0)


def test_the_action_units_of_a_synthetic_face():
    """The apex of two clips: an error of a fraction of the movement, and less than no flow's."""
    spec = config.synthetic()
    spec.subjects, spec.clips_per_subject, spec.amplitude = 1, 2, (2.0, 2.0)
    source = SyntheticSource(spec)
    for entry in source.entries():
        clip = source.load(entry)
        ends = np.stack([face.grey(clip.frames[index]) for index in (clip.onset, clip.apex or 0)])
        units = np.linalg.norm(source.action_unit_motion(entry)[clip.apex], axis=-1)
        area = units > 0.25 * units.max()
        truth = source.motion(entry)[clip.apex].astype(np.float32)[area]
        found = flow.flow(ends, **SETTINGS)[0][area]
        wrong = np.linalg.norm(found - truth, axis=-1).mean()
        assert wrong < 0.25 * np.linalg.norm(truth, axis=-1).mean()


def test_a_face_no_worse_than_scikit_image():
    shift = (0.5, -0.75)
    frames = face_frames(shift)
    ours = flow.flow(frames, **SETTINGS)[0]
    down, right = optical_flow_tvl1(*(frames / 255))
    theirs = np.stack([right, down], axis=-1)
    assert error(ours, shift) <= error(theirs, shift)
    assert error(ours, shift) < 0.15
    assert error(ours, theirs) < 0.25


def test_median_removes_one_wild_pixel():
    field = np.full((9, 9), 0.5, np.float32)
    field[4, 4] = 50.0
    np.testing.assert_array_equal(flow_images.median(jnp.asarray(field)), np.full((9, 9), 0.5))
    noise = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    assert flow_images.median(jnp.asarray(noise))[2, 3] == np.median(noise[1:4, 2:5])


def test_divergence_is_minus_the_adjoint_of_the_gradient():
    rng = np.random.default_rng(0)
    field, across, down = rng.normal(size=(3, 6, 8))
    across[:, -1], down[-1] = 0.0, 0.0
    slope = flow._forward_gradient(field)
    left = np.sum(slope[0] * across) + np.sum(slope[1] * down)
    right = -np.sum(field * flow._divergence((across, down)))
    np.testing.assert_allclose(left, right, rtol=1e-5)
