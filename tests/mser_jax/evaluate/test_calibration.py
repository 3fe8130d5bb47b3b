import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import calibration as reference
from sklearn.metrics import brier_score_loss, log_loss

from data_prep.common.errors import UserError
from helpers.made_tables import made
from mser_jax.evaluate import calibration, scoring
from mser_jax.evaluate.calibration import apply_temperature, fit_temperature

T = 2.5


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def drawn(rows=4000, people=40, classes=4, too_sure=T):
    """Labels drawn from softmax(z), beside the answers softmax(z * too_sure) in two databases."""
    random = np.random.default_rng(3)
    z = 1.5 * random.standard_normal((rows, classes))
    label = (softmax(z).cumsum(axis=1) < random.random((rows, 1))).sum(axis=1)
    person = np.arange(rows) % people
    names = [f"s{each // 2}" for each in person]  # the same names in both databases
    table = made(label, label, subject=names, dataset=np.where(person % 2, "x", "y"), classes=4)
    shown = softmax(too_sure * z).astype(np.float32)[:, None]
    return dataclasses.replace(table, probabilities=shown)


@pytest.fixture(scope="module")
def table():
    return drawn(rows=600, people=12)


def of_seeds(table, seeds=3):
    parts = [dataclasses.replace(table, seed=table.seed + seed) for seed in range(seeds)]
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(table)
        if field.name != "class_names"
    }
    return dataclasses.replace(table, **columns)


def fail(table, rows):
    probabilities, loss = table.probabilities.copy(), table.train_loss.copy()
    probabilities[rows], loss[rows] = np.nan, np.nan
    return dataclasses.replace(table, probabilities=probabilities, train_loss=loss)


@pytest.mark.parametrize("too_sure", [T, 1.0, 0.5])
def test_a_known_temperature_is_found(too_sure):
    found = fit_temperature(drawn(too_sure=too_sure), "mean")
    assert found.temperature == pytest.approx(too_sure, rel=0.06)
    assert found.after is not None
    assert found.after.ece < 0.03
    if too_sure != 1:
        assert found.before.ece > 3 * found.after.ece
        assert found.before.nll > found.after.nll
        assert found.before.brier > found.after.brier


def test_the_temperature_has_the_least_likelihood_of_a_fine_grid(table):
    p, label = table.probabilities[:, 0].astype(float), table.label
    grid = np.exp(np.linspace(np.log(2), np.log(3.5), 300))
    losses = [log_loss(label, apply_temperature(p, each), labels=range(4)) for each in grid]
    assert calibration.temperature(p, label) == pytest.approx(grid[np.argmin(losses)], rel=2e-3)


def test_scaling_is_that_of_the_logits():
    logits = np.random.default_rng(0).standard_normal((50, 5))
    np.testing.assert_allclose(
        apply_temperature(softmax(logits), 0.7), softmax(logits / 0.7), rtol=1e-12
    )


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 3.0, 100.0])
def test_the_order_of_the_answers_never_changes(temperature):
    p = np.random.default_rng(1).dirichlet(0.4 * np.ones(4), size=500).astype(np.float32)
    p[:5, 1:3] = 0
    p /= p.sum(axis=1, keepdims=True)
    scaled = apply_temperature(p, temperature)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(scaled.argmax(axis=1), p.argmax(axis=1))
    above = p[:, :, None] > np.maximum(p, 1e-11)[:, None]
    assert (scaled[:, :, None] > scaled[:, None])[above & (scaled > 1e-200)[:, None]].all()


def test_a_temperature_of_1_changes_nothing(table):
    p = table.probabilities[:, 0].astype(float)
    np.testing.assert_allclose(apply_temperature(p, 1.0), p, atol=1e-6)


def test_figures_agree_with_scikit_learn(table):
    """The quality before, and after with every person's own temperature."""
    found = fit_temperature(table, "mean")
    p, label = table.probabilities[:, 0].astype(float), table.label
    assert found.cross_fitted is not None
    assert found.after is not None
    of_row = [found.cross_fitted[key] for key in zip(table.dataset, table.subject)]
    for quality, q in (
        (found.before, p / p.sum(axis=1, keepdims=True)),
        (found.after, apply_temperature(p, np.array(of_row)[:, None])),
    ):
        assert quality.nll == pytest.approx(log_loss(label, q, labels=range(4)), rel=1e-6)
        each = [brier_score_loss(label == one, q[:, one]) for one in range(4)]
        assert quality.brier == pytest.approx(sum(each), rel=1e-6)
        sure = q.max(axis=1)
        assert quality.confidence == pytest.approx(sure.mean())
        counts, _ = np.histogram(sure, bins=20, range=(0, 1))
        assert list(quality.histogram) == counts.tolist()


def test_bins_agree_with_scikit_learn_and_stay_for_what_is_calibrated(table):
    found = fit_temperature(table, "mean")
    p = table.probabilities[:, 0].astype(float)
    right, sure = p.argmax(axis=1) == table.label, (p / p.sum(axis=1, keepdims=True)).max(axis=1)
    accuracy, confidence = reference.calibration_curve(right, sure, n_bins=10, strategy="quantile")
    assert found.after is not None
    assert found.cross_fitted is not None
    of_row = [found.cross_fitted[key] for key in zip(table.dataset, table.subject)]
    scaled = apply_temperature(p, np.array(of_row)[:, None]).max(axis=1)
    in_order = scaled[np.argsort(sure)].reshape(10, 60).mean(axis=1)
    for quality, expected in ((found.before, confidence), (found.after, in_order)):
        assert [one.accuracy for one in quality.bins] == pytest.approx(accuracy.tolist())
        assert [one.confidence for one in quality.bins] == pytest.approx(expected.tolist())
        assert [one.clips for one in quality.bins] == [60] * 10
        assert quality.ece == pytest.approx(np.abs(accuracy - expected).mean())
    for one in found.before.bins:
        interval = binomtest(round(one.accuracy * 60), 60).proportion_ci(method="wilson")
        assert one.interval == pytest.approx((interval.low, interval.high))


def test_a_persons_temperature_is_blind_to_the_own_rows(table):
    before = fit_temperature(table, "mean").cross_fitted
    own = (table.dataset == "x") & (table.subject == "s3")
    assert 0 < own.sum() < (table.subject == "s3").sum()
    label = np.where(own, (table.label + 1) % 4, table.label)
    after = fit_temperature(dataclasses.replace(table, label=label), "mean").cross_fitted
    assert before is not None
    assert after is not None
    assert after["x", "s3"] == before["x", "s3"]
    others = before.keys() - {("x", "s3")}
    assert len(others) == 11
    assert all(after[person] != before[person] for person in others)


def test_rows_of_all_seeds_count_and_clips_but_once(table):
    one, three = fit_temperature(table, "mean"), fit_temperature(of_seeds(table), "mean")
    assert three.temperature == pytest.approx(one.temperature, rel=1e-3)
    assert [each.clips for each in three.before.bins] == [60] * 10
    assert sum(three.before.histogram) == 1800
    assert three.before.bins[0].interval == pytest.approx(one.before.bins[0].interval)


def test_a_single_person_is_told_by_none():
    found = fit_temperature(drawn(rows=30, people=1), "mean").to_dict()
    assert found["cross_fitted"] is None
    assert found["after"] is None
    assert found["temperature"] > 0


def test_certain_answers_stay_finite_and_share_one_bin():
    """As of support vectors: nothing of what is true is possible by a wrong answer."""
    label, answer = np.arange(60) % 3, np.where(np.arange(60) < 45, np.arange(60) % 3, 0)
    found = fit_temperature(
        made(label, answer, subject=[f"s{row % 6}" for row in range(60)]), "confidence"
    )
    assert len(found.before.bins) == 1
    assert found.before.confidence == pytest.approx(1)
    assert found.after is not None
    assert found.after.ece < 0.01 < 0.1 < found.before.ece
    json.dumps(found.to_dict(), allow_nan=False)


def test_where_every_answer_is_right_the_surest_temperature_is_taken(table):
    sure = dataclasses.replace(table, label=table.probabilities[:, 0].argmax(axis=1))
    assert fit_temperature(sure, "mean").temperature == pytest.approx(
        calibration.TEMPERATURE_RANGE[0], rel=0.01
    )


def test_a_failed_fold_has_no_answer_to_calibrate(table):
    failed = table.subject == "s3"
    assert fit_temperature(fail(table, failed), "mean") == fit_temperature(
        table.take(~failed), "mean"
    )


def test_the_metrics_hold_it_but_for_the_upper_bound(table):
    scores = scoring.score(table, "mean")
    assert scores["calibration"] == fit_temperature(table, "mean").to_dict()
    assert scoring.score(table, "oracle")["calibration"] is None
    with pytest.raises(UserError, match=r"reads the label.*Fix: use another --config\.eval"):
        fit_temperature(table, "oracle")
