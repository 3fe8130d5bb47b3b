import dataclasses
import json

import numpy as np
import pytest
from sklearn import metrics as reference

from data_prep.common.errors import UserError
from helpers.made_tables import made
from mser_jax.evaluate import metrics, scoring

# Worked by hand: rows are the true class. Recall 3/4, 1/3, 1/1; precision 3/4, 1/2, 1/2;
# F1 3/4, 2/5, 2/3.
COUNTS = np.array([[3, 1, 0], [1, 1, 1], [0, 0, 1]])


def random_table(seeds=1, rows=120, classes=4):
    random = np.random.default_rng(5)
    label = np.tile(random.integers(classes, size=rows), seeds)
    guess = random.integers(classes, size=rows * seeds)
    answer = np.where(random.random(rows * seeds) < 0.5, label, guess)
    subject = np.tile([f"s{row % 10}" for row in range(rows)], seeds)
    seed = np.repeat(np.arange(seeds), rows)
    return made(label, answer, subject=subject, seed=seed, classes=classes), answer


def of_two_databases():
    """A table in which folds, databases and subjects are not the same, and classes not as many."""
    predictions, answer = random_table()
    random = np.random.default_rng(8)
    dataset = np.where(np.isin(predictions.subject, ["s1", "s4", "s7"]), "x", "y")
    fold = np.array([f"k_fold/{part}" for part in random.choice(3, size=120, p=(0.2, 0.3, 0.5))])
    return dataclasses.replace(predictions, dataset=dataset, fold=fold), answer


def assert_agree(scores, predictions, answer):
    """Every figure of docs/paper.md ("Training and evaluation") against scikit-learn's."""
    label, folds = predictions.label, predictions.fold
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(label, answer))
    assert scores["uf1"] == pytest.approx(reference.f1_score(label, answer, average="macro"))
    assert scores["uar"] == pytest.approx(reference.recall_score(label, answer, average="macro"))
    for average in ("macro", "weighted", "micro"):
        expected = reference.f1_score(label, answer, average=average)
        assert scores[f"f1_{average}"] == pytest.approx(expected)
    each = [reference.accuracy_score(label[folds == f], answer[folds == f]) for f in set(folds)]
    assert scores["accuracy_fold_mean"] == pytest.approx(np.mean(each))
    assert abs(scores["accuracy_fold_mean"] - scores["accuracy"]) > 1e-3, "else it would not show"
    expected = np.array(reference.precision_recall_fscore_support(label, answer))
    for field, values in zip(("precision", "recall", "f1", "clips"), expected, strict=True):
        assert [row[field] for row in scores["per_class"]] == pytest.approx(values.tolist())


def test_confusion_has_the_true_class_in_its_rows():
    label = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    answer = np.array([0, 0, 0, 1, 0, 1, 2, 2])
    np.testing.assert_array_equal(metrics.confusion(label, answer, 3), COUNTS)


def test_scores_worked_by_hand():
    precision, recall, f1 = metrics.per_class(COUNTS)
    np.testing.assert_allclose(precision, [3 / 4, 1 / 2, 1 / 2])
    np.testing.assert_allclose(recall, [3 / 4, 1 / 3, 1])
    np.testing.assert_allclose(f1, [3 / 4, 2 / 5, 2 / 3])
    scores = metrics.summary(COUNTS)
    assert scores["accuracy"] == scores["f1_micro"] == 5 / 8
    assert scores["uar"] == pytest.approx((3 / 4 + 1 / 3 + 1) / 3)
    assert scores["uf1"] == scores["f1_macro"] == pytest.approx((3 / 4 + 2 / 5 + 2 / 3) / 3)
    assert scores["f1_weighted"] == pytest.approx((4 * 3 / 4 + 3 * 2 / 5 + 2 / 3) / 8)


def test_scores_agree_with_scikit_learn():
    predictions, answer = random_table()
    label = predictions.label
    scores = scoring.score(predictions, "confidence")
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(label, answer))
    assert scores["uar"] == pytest.approx(reference.balanced_accuracy_score(label, answer))
    for average in ("macro", "weighted", "micro"):
        expected = reference.f1_score(label, answer, average=average)
        assert scores[f"f1_{average}"] == pytest.approx(expected)
    assert scores["confusion"] == reference.confusion_matrix(label, answer).tolist()
    expected = np.array(reference.precision_recall_fscore_support(label, answer))
    for field, values in zip(("precision", "recall", "f1", "clips"), expected, strict=True):
        assert [row[field] for row in scores["per_class"]] == pytest.approx(values.tolist())


def test_every_figure_agrees_with_scikit_learn_full_and_per_database():
    predictions, answer = of_two_databases()
    scores = scoring.score(predictions, "confidence")
    assert_agree(scores, predictions, answer)
    assert [row["dataset"] for row in scores["per_dataset"]] == ["x", "y"]
    for row in scores["per_dataset"]:
        rows = predictions.dataset == row["dataset"]
        assert row["clips"] == rows.sum()
        assert row["subjects"] == len(set(predictions.subject[rows]))
        assert_agree(row, predictions.take(rows), answer[rows])


def test_a_database_of_several_seeds_has_the_mean_of_their_scores():
    predictions, answer = random_table(seeds=3)
    dataset = np.where(np.char.endswith(predictions.subject, "1"), "x", "y")
    predictions = dataclasses.replace(predictions, dataset=dataset)
    for row in scoring.score(predictions, "confidence")["per_dataset"]:
        each = [
            reference.f1_score(predictions.label[rows], answer[rows], average="macro")
            for rows in ((predictions.seed == s) & (dataset == row["dataset"]) for s in range(3))
        ]
        assert row["uf1"] == pytest.approx(np.mean(each))
        assert row["clips"] == np.sum(dataset == row["dataset"]) / 3


def test_a_class_that_is_never_answered_has_no_precision_and_scores_zero():
    label, answer = np.array([0, 1, 2]), np.array([0, 1, 1])
    precision, _, f1 = metrics.per_class(metrics.confusion(label, answer, 3))
    options: dict = {"average": None, "zero_division": 0}
    expected = reference.precision_score(label, answer, **options)
    np.testing.assert_allclose(precision, expected)
    assert f1[2] == 0


def test_an_absent_class_is_an_error_and_never_a_perfect_score():
    with pytest.raises(UserError, match="class b, c"):
        scoring.score(made([0, 0], [0, 0]), "confidence")
    scores = metrics.summary(np.diag([2, 3, 0]))
    assert np.isnan(scores["uf1"])
    assert np.isnan(scores["uar"])
    assert scores["accuracy"] == 1
    assert scores["f1_macro"] == pytest.approx(2 / 3)


def test_a_database_without_a_class_has_no_uf1():
    label = [0, 1, 2, 0, 1]
    predictions = made(label, label, dataset=["x", "x", "x", "y", "y"])
    whole, part = scoring.score(predictions, "confidence")["per_dataset"]
    assert (whole["uf1"], whole["clips"]) == (1, 3)
    assert (part["uf1"], part["uar"], part["accuracy"], part["clips"]) == (None, None, 1, 2)
    absent = part["per_class"][2]
    assert (absent["clips"], absent["recall"], absent["f1"]) == (0, None, None)


def test_the_same_name_in_two_databases_is_two_people():
    predictions = made([0, 1, 2], [0, 1, 2], dataset=["x", "x", "y"])
    scores = scoring.score(predictions, "confidence")
    assert scores["subjects"] == 2
    assert [(row["dataset"], row["clips"]) for row in scores["per_subject"]] == [("x", 2), ("y", 1)]


def test_fold_mean_weighs_folds_and_not_clips():
    predictions = made([0, 1, 2, 0], [0, 1, 2, 1], subject=["s1", "s1", "s1", "s2"])
    scores = scoring.score(predictions, "confidence")
    assert scores["accuracy"] == 3 / 4
    assert scores["accuracy_fold_mean"] == 1 / 2


def test_majority_and_chance_of_unequal_classes():
    label = [0] * 6 + [1] * 3 + [2]
    scores = scoring.score(made(label, label), "confidence")
    assert scores["majority"]["class"] == "a"
    assert scores["majority"]["accuracy"] == 0.6
    assert scores["majority"]["uar"] == pytest.approx(1 / 3)
    assert scores["majority"]["uf1"] == pytest.approx(0.75 / 3)
    assert scores["chance"]["accuracy"] == pytest.approx(1 / 3)
    assert scores["chance"]["uar"] == pytest.approx(1 / 3)


def test_the_majority_row_of_megc_2019_is_the_known_one():
    """442 clips, 250 negative, 109 positive, 83 surprise: UF1 .2408, UAR .3333."""
    label = np.repeat([0, 1, 2], [250, 109, 83])
    majority = scoring.score(made(label, label), "confidence")["majority"]
    assert round(majority["uf1"], 4) == 0.2408
    assert round(majority["uar"], 4) == 0.3333


def test_the_oracle_is_marked_and_no_rule_is_more_often_right():
    random = np.random.default_rng(1)
    predictions = dataclasses.replace(
        random_table()[0],
        probabilities=random.dirichlet(np.ones(4), size=(120, 4)).astype(np.float32),
        train_loss=random.random((120, 4)).astype(np.float32),
    )
    rows = {row["rule"]: row for row in scoring.score(predictions, "mean")["rules"]}
    best = rows.pop("oracle")
    assert best["upper_bound"]
    assert not any(row["upper_bound"] for row in rows.values())
    for score in ("accuracy", "uar"):
        assert best[score] > max(row[score] for row in rows.values())


def test_several_seeds_are_averaged_and_not_pooled():
    predictions, answer = random_table(seeds=3)
    scores = scoring.score(predictions, "confidence")
    each = [
        reference.f1_score(predictions.label[rows], answer[rows], average="macro")
        for rows in (predictions.seed == seed for seed in range(3))
    ]
    assert [row["uf1"] for row in scores["per_seed"]] == pytest.approx(each)
    assert scores["uf1"] == pytest.approx(np.mean(each))
    assert scores["seed_std"]["uf1"] == pytest.approx(np.std(each, ddof=1))
    assert scores["clips"] == 120
    assert np.sum(scores["confusion"]) == 360
    assert sum(row["clips"] for row in scores["per_class"]) == 120


def test_one_seed_has_no_deviation():
    assert scoring.score(random_table()[0], "confidence")["seed_std"] is None


def test_bootstrap_is_deterministic_and_resamples_subjects():
    label = np.tile([0, 1, 2], 20)
    right_by_subject = made(
        label, np.where(np.arange(60) < 30, label, (label + 1) % 3), subject=["x"] * 30 + ["y"] * 30
    )
    first, again = (scoring.score(right_by_subject, "confidence")["interval"] for _ in range(2))
    assert first == again
    # Two subjects, one all right and one all wrong: a resample scores 0, a half, or 1.
    assert first["accuracy"] == [0, 1]
    assert first["undefined"] == 0


def test_bootstrap_interval_is_that_of_a_plain_loop():
    predictions, answer = random_table()
    result = scoring.score(predictions, "confidence")["interval"]
    random = np.random.default_rng(9)
    members = [np.flatnonzero(predictions.subject == f"s{person}") for person in range(10)]
    scores = []
    for _ in range(500):
        rows = np.concatenate([members[person] for person in random.integers(10, size=10)])
        scores.append(reference.f1_score(predictions.label[rows], answer[rows], average="macro"))
    np.testing.assert_allclose(result["uf1"], np.percentile(scores, [2.5, 97.5]), atol=0.02)


def test_a_resample_without_a_class_is_left_out_and_counted():
    counts = np.zeros((1, 2, 2, 2), int)
    counts[0, 0] = [[4, 0], [0, 0]]
    counts[0, 1] = [[0, 0], [2, 2]]
    result = metrics.bootstrap(counts, resamples=400)
    assert result["undefined"] == pytest.approx(200, abs=50)  # the same subject drawn twice
    assert result["uar"] == [0.75, 0.75]
    assert result["accuracy"] == [0.5, 1]


def test_metrics_are_json():
    scores = scoring.score(random_table(seeds=2)[0], "confidence")
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
