"""Folds that failed: apart from every score, told loudly, never compared."""

import html

import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.made_report import EVENTS, config, epoch
from helpers.made_tables import fail, made
from mser_jax.evaluate import failures, metrics, predictions_csv, scoring, selection
from mser_jax.evaluate.compare import ablation
from mser_jax.evaluate.compare import runs as compare
from mser_jax.report.run import page as report


def whole_table(seeds=1):
    """Of every seed three subjects, with three clips each."""
    label = [0, 1, 2, 0, 1, 2, 0, 1, 2] * seeds
    answer = [0, 1, 1, 0, 0, 2, 1, 1, 2] * seeds
    return made(
        label, answer, subject=list("xxxyyyzzz") * seeds, seed=np.repeat(np.arange(seeds), 9)
    )


def with_a_failed_fold(seeds=1):
    """In the first seed the fold of subject y failed."""
    whole = whole_table(seeds)
    failed = (whole.subject == "y") & (whole.seed == 0)
    return whole, fail(whole, failed), failed


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("rule", selection.RULES)
def test_no_score_counts_the_clips_of_a_failed_fold(seeds, rule):
    whole, partial, failed = with_a_failed_fold(seeds)
    scores, of_the_others = scoring.score(partial, rule), scoring.score(whole.take(~failed), rule)
    assert scores["failed"] == [{"fold": "made/y", "seed": 0, "clips": 3}]
    assert (scores["trainings"], scores["folds"]) == (3 * seeds, 3)
    assert (scores["tested"], scores["clips"]) == (9, 6 if seeds == 1 else 9)
    assert [row["unanswered"] for row in scores["per_seed"]] == [3] + [0] * (seeds - 1)
    assert of_the_others["failed"] == []
    about_the_whole = {"failed", "trainings", "folds", "tested", "per_seed"}
    assert {k: v for k, v in scores.items() if k not in about_the_whole} == {
        k: v for k, v in of_the_others.items() if k not in about_the_whole
    }


def test_a_seed_of_which_every_fold_failed_counts_in_no_mean():
    whole = whole_table(seeds=3)
    scores = scoring.score(fail(whole, whole.seed == 1), "mean")
    assert scores["seeds"] == [0, 1, 2]
    assert [row["uf1"] is None for row in scores["per_seed"]] == [False, True, False]
    assert scores["per_seed"][1]["accuracy"] is None
    assert scores["uf1"] == scoring.score(whole, "mean")["uf1"]
    assert "undefined" in report.render(scores, config(), EVENTS)


def test_a_resample_without_any_answered_clip_is_not_an_accuracy_of_0():
    whole = whole_table()
    one_left = fail(made(whole.label, whole.label, subject=whole.subject), whole.subject != "z")
    counts = metrics.confusion_by_subject(whole, "mean") * 0
    counts[:, -1:] = metrics.confusion_by_subject(one_left.take(~one_left.failed), "mean")
    interval = metrics.bootstrap(counts)
    assert interval["accuracy"] == [1, 1]
    assert interval["undefined"] > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_a_class_that_the_failed_folds_leave_without_an_answer_is_refused(seed):
    whole = made([0, 1, 2] * 2, [0, 1, 2] * 2, subject=list("xyz") * 2, seed=[0, 0, 0, 1, 1, 1])
    partial = fail(whole, (whole.subject == "y") & (whole.seed == seed))
    told = rf"1 of 6 trainings diverged, and no clip of class b .* seed {seed}: .* Fix: .*rate"
    with pytest.raises(UserError, match=told):
        scoring.score(partial, "mean")


def test_a_table_without_any_answer_is_one_error():
    whole = whole_table()
    with pytest.raises(UserError, match=r"Every fold's training diverged.*learning_rate"):
        scoring.score(fail(whole, np.full(9, True)), "mean")


def test_the_table_for_the_terminal_says_it_first():
    _, partial, _ = with_a_failed_fold(seeds=3)
    text = report.text_table(scoring.score(partial, "confidence"))
    assert max(map(len, text.splitlines())) <= 80
    said = " ".join(text.split())
    assert "FAILED: 1 of 9 trainings diverged: fold made/y, seed 0 (3 clips)." in said
    assert said.index("FAILED") < said.index("accuracy")
    assert "FAILED" not in report.text_table(scoring.score(whole_table(), "confidence"))


def test_the_page_says_it_first_and_lists_where_each_fold_failed(tmp_path):
    _, partial, _ = with_a_failed_fold(seeds=3)
    stopped = epoch(1, 3.0) | {"fold_loss": [3.0, None, 4.0]}
    where = {"fold": "made/y", "seed": 0, "epoch": 17, "step": 23}
    clips = ["made/x/0", "made/z/2"]
    events = [*EVENTS[:-2], {"event": "diverged", **where, "clips": clips}, stopped]
    page = html.unescape(report.write(tmp_path, partial, config(), events).read_text())
    assert page.index("FAILED: 1 of 9 trainings") < page.index("<h2>")
    row = '<th scope="row">made/y</th><td>0</td><td>17</td><td>23</td>'
    assert row in page
    assert "The 2 clips of that step of fold made/y, seed 0" in page
    assert "made/x/0, made/z/2" in page
    assert "0 (3 clips without an answer)" in page
    _, partial, _ = with_a_failed_fold()
    page = report.render(scoring.score(partial, "mean"), config(), EVENTS)
    assert page.count("<td>not recorded</td>") == 2
    assert "without an answer: the fold failed</th><td>3</td>" in page
    assert "trained on and not tested" not in page


def test_many_failed_folds_are_counted_and_not_all_named():
    label = np.tile(np.arange(3), 8)
    whole = made(label, label, subject=np.repeat([f"s{at}" for at in range(8)], 3))
    scores = scoring.score(fail(whole, whole.subject != "s7"), "mean")
    assert "fold made/s4, seed 0 (3 clips); and 2 more. These" in report.text_table(scores).replace(
        "\n", " "
    )


def test_a_run_with_a_failed_fold_is_not_compared():
    whole, partial, _ = with_a_failed_fold()
    runs = [compare.Run(f"runs/{name}", config(), each) for name, each in zip("ab", (whole, whole))]
    compare.results(*runs)
    runs[0] = runs[0]._replace(predictions=partial)
    told = r"runs/a: 1 of 3 trainings diverged \(fold made/y, seed 0\).*Fix"
    with pytest.raises(UserError, match=told):
        compare.results(*runs)
    with pytest.raises(UserError, match=told):
        compare.results(*reversed(runs))


@pytest.mark.parametrize("members", [("base",), ("base", "+flow")])
def test_a_member_with_a_failed_fold_ends_the_ablation(members):
    whole, partial, _ = with_a_failed_fold()
    tables = dict.fromkeys(members, whole)
    ablation.results(tables, "mean", "samm")
    with pytest.raises(UserError, match=rf"{members[-1][1:]}: 1 of 3 trainings diverged"):
        ablation.results(tables | {members[-1]: partial}, "mean", "samm")


def test_the_file_of_a_failed_fold_gives_the_same_scores(tmp_path):
    _, partial, _ = with_a_failed_fold(seeds=2)
    predictions_csv.write_csv(tmp_path / "predictions.csv", partial, "mean")
    back = predictions_csv.read_csv(tmp_path / "predictions.csv")
    assert scoring.score(back, "mean") == scoring.score(partial, "mean")
    assert failures.rows_per_training(back) == failures.rows_per_training(partial)
