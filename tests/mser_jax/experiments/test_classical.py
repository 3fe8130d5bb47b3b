"""The baselines without a network, on clips made here; scikit-learn fits them."""

import os

import numpy as np
import pytest
from sklearn.svm import SVC

from data_prep.datasets.megc2019.reader import Megc2019
from mser_jax.data import folds
from mser_jax.data.augment import Clips
from mser_jax.data.dataset import Dataset
from mser_jax.evaluate import scoring
from mser_jax.experiments import classical

CHANNELS = ("u", "v", "strain")


def dataset(clips=36, subjects=6):
    """Images whose u is brighter in one of three corners, by the class."""
    random = np.random.default_rng(0)
    labels = np.arange(clips, dtype=np.int32) % 3
    pixels = random.integers(0, 120, (clips, 1, 6, 6, 3)).astype(np.uint8)
    for clip, label in enumerate(labels):
        pixels[clip, 0, 2 * label : 2 * label + 2, :3, 0] += 100
    names = np.array([f"s{clip % subjects}" for clip in range(clips)])
    return Dataset(
        clips=Clips(pixels, np.full(clips, 1 / 255, np.float32), labels),
        dataset=np.array(["made"] * clips),
        subject=names,
        clip=np.array([f"c{clip}" for clip in range(clips)]),
        class_names=("negative", "positive", "surprise"),
        digest="",
        dropped={},
        release={},
        repaired={},
    )


def table(name, settings, channels=CHANNELS):
    made = dataset()
    every = folds.loso([f"made/{subject}" for subject in made.subject])
    return made, every, classical.predictions(name, settings, channels, made, every)


@pytest.mark.parametrize(
    ("name", "kernel", "c"), [("svm_linear", "linear", 0.01), ("svm_rbf", "rbf", 10.0)]
)
def test_support_vectors_answer_as_scikit_learn_does_without_us(name, kernel, c):
    made, every, predictions = table(name, {"c": c})
    x = made.clips.pixels.reshape(36, -1) / 255
    for fold in every:
        svm = SVC(kernel=kernel, C=c, class_weight="balanced")
        wanted = svm.fit(x[fold.train], made.clips.labels[fold.train]).predict(x[fold.test])
        rows = predictions.fold == fold.name
        np.testing.assert_array_equal(predictions.probabilities[rows, 0].argmax(axis=-1), wanted)


def test_only_the_channels_that_are_asked_for_are_seen():
    _, _, seen = table("svm_linear", {"c": 1.0}, ("u",))
    assert (seen.probabilities[:, 0].argmax(axis=-1) == seen.label).all()
    _, _, blind = table("svm_linear", {"c": 1.0}, ("v",))
    assert (blind.probabilities[:, 0].argmax(axis=-1) == blind.label).mean() < 0.7


def test_the_majority_is_that_of_the_training_clips():
    made = dataset()
    labels = np.array([0] * 20 + [1] * 16, np.int32)
    every = [
        folds.Fold("a", np.arange(10), np.arange(10, 36)),
        folds.Fold("b", np.arange(10, 36), np.arange(10)),
    ]
    made.clips.labels[:] = labels
    made.clips.labels[10:20] = 1
    answers = classical.predictions("majority", {}, CHANNELS, made, every)
    assert set(answers.probabilities[:26, 0].argmax(axis=-1)) == {0}
    assert set(answers.probabilities[26:, 0].argmax(axis=-1)) == {1}
    np.testing.assert_allclose(answers.train_loss[[0, -1], 0], [0, 0])


@pytest.mark.parametrize(("name", "settings"), [("svm_linear", {"c": 1.0}), ("mirror_svm", {})])
def test_a_fold_never_sees_what_it_tests(name, settings):
    """Other labels and another companion among the tested clips change no answer."""
    made, every, before = table(name, settings)
    fold, rows = every[2], before.fold == every[2].name
    made.clips.labels[fold.test] = (made.clips.labels[fold.test] + 1) % 3
    made.clips.pixels[fold.test[1:]] = 255 - made.clips.pixels[fold.test[1:]]
    again = classical.predictions(name, settings, CHANNELS, made, [fold])
    np.testing.assert_array_equal(again.probabilities[0], before.probabilities[rows][0])


# UF1, UAR of all clips, and UF1 of SMIC, CASME II and SAMM: scikit-learn 1.9.1 without us.
ELSEWHERE = {
    ("majority", None): (0.2408, 0.3333, 0.1994, 0.2518, 0.2726),
    ("svm_linear", 0.01): (0.7112, 0.7404, 0.6640, 0.8499, 0.5978),
    ("svm_rbf", 10.0): (0.7159, 0.7177, 0.6771, 0.8408, 0.5765),
}


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("MSER_MEGC2019"), reason="MSER_MEGC2019 names no clone of the images"
)
@pytest.mark.parametrize(("name", "c"), ELSEWHERE)
def test_scores_on_the_real_images_are_those_found_elsewhere(name, c):
    source = Megc2019(os.environ["MSER_MEGC2019"])
    entries = source.entries()
    records = [source.record(entry) for entry in entries]
    real = Dataset(
        clips=Clips(
            np.stack([record["image"] for record in records]),
            np.full(len(records), 1 / 255, np.float32),
            np.array([record["label"] for record in records], np.int32),
        ),
        dataset=np.array([entry.dataset for entry in entries]),
        subject=np.array([entry.subject for entry in entries]),
        clip=np.array([entry.clip_id for entry in entries]),
        class_names=source.class_names,
        digest="",
        dropped={},
        release={},
        repaired={},
    )
    settings = {} if c is None else {"c": c}
    every = folds.loso(real.groups)
    assert len(every) == 68
    answers = classical.predictions(name, settings, CHANNELS, real, every)
    scores = scoring.score(answers, "confidence")
    of = {row["dataset"]: row["uf1"] for row in scores["per_dataset"]}
    got = (scores["uf1"], scores["uar"], of["smic"], of["casme2"], of["samm"])
    np.testing.assert_allclose(got, ELSEWHERE[name, c], atol=5e-5)
