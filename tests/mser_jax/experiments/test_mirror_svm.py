"""The kernel knows the mirror, the zero and the scale; settings come from the training subjects."""

import numpy as np
import pytest

from mser_jax.data import folds
from mser_jax.experiments import mirror_svm
from mser_jax.experiments.mirror_svm import CANDIDATES, NUM_CHOSEN, MirrorSVM, kernel, normalise


def flow(count=5, side=8, seed=0):
    """Smooth u, v in px with many places that rest, and their strain's stand-in."""
    random = np.random.default_rng(seed)
    made = np.zeros((count, side, side, 3))
    made[:, 2:5, 1:6] = random.standard_normal((count, 3, 5, 3))
    made[..., 2] = np.abs(made[..., 2])
    return made


def stretched(values):
    """Each channel of each image to 0..255, as the images of flow are made."""
    low, high = values.min(axis=(1, 2), keepdims=True), values.max(axis=(1, 2), keepdims=True)
    return 255 * (values - low) / (high - low)


def mirrored(images):
    turned = images[:, :, ::-1].copy()
    turned[..., 0] = 255 - turned[..., 0]
    return turned


def test_zero_and_scale_are_found_again():
    values = flow()
    found = normalise(stretched(values), 0.0, 1.0)[..., :2]
    size = np.sqrt(np.mean(values[..., :2] ** 2, axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(found, values[..., :2] / size, rtol=0.01, atol=1e-9)


def test_an_image_is_normalised_by_itself_alone():
    images = stretched(flow())
    together, alone = normalise(images, 1.0, 3.0), normalise(images[2:3], 1.0, 3.0)
    np.testing.assert_array_equal(together[2:3], alone)


def test_the_kernel_does_not_tell_an_image_from_its_mirror_image():
    images = stretched(flow())
    both = normalise(np.concatenate([images, mirrored(images)]), 1.0, 3.0)
    gram = kernel(both, 0.4)
    np.testing.assert_allclose(gram[:5, :5], gram[5:, :5], rtol=1e-9)
    assert gram[0, 1] < 0.99 * gram[0, 0], "else it tells nothing apart"
    np.testing.assert_allclose(gram, gram.T, rtol=1e-9)
    assert np.linalg.eigvalsh(gram).min() > -1e-9


def test_the_kernel_written_out():
    images = normalise(stretched(flow(2)), 1.0, 1.0)
    other = images[1][:, ::-1] * [-1, 1, 1]
    wanted = [np.exp(-0.4 * np.mean((images[0] - each) ** 2)) for each in (images[1], other)]
    assert kernel(images, 0.4)[0, 1] == pytest.approx(np.mean(wanted))


def machine(subjects=9, each=6):
    random = np.random.default_rng(1)
    labels = np.tile(np.arange(3), subjects * each // 3)
    values = 0.2 * flow(len(labels), seed=2)
    for clip, label in enumerate(labels):
        values[clip, 2 + label, 2:5, 1] += 1.5
    groups = [f"made/s{clip // each}" for clip in range(len(labels))]
    shuffled = random.permutation(len(labels))
    images = stretched(values)[shuffled]
    groups = [groups[at] for at in shuffled]
    return MirrorSVM(images, labels[shuffled], 3, groups, 0), folds.loso(groups), labels[shuffled]


def test_it_learns_and_keeps_the_better_half():
    answers, every, labels = machine()
    right = []
    for fold in every:
        assert len(set(answers.choose(fold))) == NUM_CHOSEN == len(CANDIDATES) // 2
        probabilities, error = answers(fold)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        right += (probabilities.argmax(axis=1) == labels[fold.test]).tolist()
        assert error < 0.2
    assert np.mean(right) > 0.9


def test_the_inner_split_leaves_whole_subjects_out(monkeypatch):
    answers, every, _ = machine()
    asked = []
    decide = MirrorSVM._decide

    def watched(self, which, train, test):
        asked.append((train, test))
        return decide(self, which, train, test)

    monkeypatch.setattr(MirrorSVM, "_decide", watched)
    answers.choose(every[0])
    groups = answers._groups
    assert len(asked) == mirror_svm.INNER_FOLDS * len(CANDIDATES)
    for train, test in asked:
        assert not {*groups[train]} & {*groups[test]}
        assert every[0].name not in {*groups[train], *groups[test]}
