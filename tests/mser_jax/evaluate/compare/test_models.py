"""All models side by side: whose scores they are, who is best, and what the files say."""

import csv
import json
import re

import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.made_tables import made
from mser_jax.config import zoo
from mser_jax.evaluate import ensemble, metrics
from mser_jax.evaluate.compare import models as suite_results
from mser_jax.evaluate.compare import published
from mser_jax.report import suite as suite_report

LABELS = [0, 1, 2] * 4
SUBJECTS = list("aaabbbcccddd")
DATASETS = ["smic"] * 6 + ["samm"] * 6
CONFIG = {
    "name": "megc2019",
    "seed": 0,
    "evaluation": {"protocol": "loso", "held_out": ""},
    "data": {"dataset": "megc2019"},
}


def of(answers, seeds=1):
    return made(
        LABELS * seeds,
        answers,
        subject=SUBJECTS * seeds,
        dataset=DATASETS * seeds,
        seed=np.repeat(range(seeds), 12),
    )


GOOD = [0, 1, 2] * 3 + [0, 1, 0]
POOR = [0, 0, 0] * 2 + [0, 1, 2] * 2
TABLES = {
    "majority": of([0] * 12),
    "ststnet": of(GOOD + POOR, seeds=2),
    "svm_linear": of(GOOD),
}


@pytest.fixture(autouse=True)
def whole(monkeypatch):
    """The twelve clips stand for the whole composite."""
    monkeypatch.setattr(published, "COMPOSITE_CLIPS", 12)


@pytest.fixture(scope="module")
def results():
    return suite_results.results(TABLES, "confidence")


def test_scores_are_those_of_the_tables(results):
    by_name = {row["model"]: row for row in results["models"]}
    counts = metrics.confusion(np.array(LABELS), np.array(GOOD), 3)
    wanted = metrics.summary(counts)
    for score in metrics.HEADLINE:
        assert by_name["svm_linear"]["scores"]["all"][score] == pytest.approx(wanted[score])
    samm = metrics.summary(metrics.confusion(np.array(LABELS[6:]), np.array(GOOD[6:]), 3))
    assert by_name["svm_linear"]["scores"]["samm"]["uf1"] == pytest.approx(samm["uf1"])
    low, high = by_name["svm_linear"]["scores"]["samm"]["interval"]["uf1"]
    assert low <= samm["uf1"] <= high
    assert by_name["svm_linear"]["as_one"] is None
    together = ensemble.average_seeds(TABLES["ststnet"], "confidence")
    right = (together.probabilities[:, 0].argmax(axis=-1) == together.label).mean()
    assert by_name["ststnet"]["as_one"]["all"]["accuracy"] == pytest.approx(right)


def test_the_best_is_that_of_the_highest_uf1_and_the_others_differ_from_it(results):
    assert results["best"] == "svm_linear"
    by_name = {row["model"]: row for row in results["models"]}
    assert by_name["svm_linear"]["to_best"] is None
    uf1 = {name: row["scores"]["all"]["uf1"] for name, row in by_name.items()}
    for name in ("majority", "ststnet"):
        told = by_name[name]["to_best"]["difference"]["uf1"]
        assert told == pytest.approx(uf1[name] - uf1["svm_linear"])


def test_a_model_of_which_a_fold_failed_has_no_score_and_is_not_the_best():
    broken = of(GOOD)
    rows = np.array(SUBJECTS) == "b"
    broken.probabilities[rows], broken.train_loss[rows] = np.nan, np.nan
    told = suite_results.results({"ststnet": broken, "majority": TABLES["majority"]}, "mean")
    assert told["best"] == "majority"
    assert told["models"][0] == {
        "model": "ststnet",
        "failed": [{"fold": "smic/b", "seed": 0, "clips": 3}],
    }


def context():
    logs = {
        name: [{"event": "stage", "name": "fit", "seconds": 1.5, "reused": False}]
        for name in TABLES
    }
    logs["ststnet"] = [
        {"event": "train", "parameters": 1683},
        {"event": "epoch", "epoch": 1, "seconds": 2.0},
        {"event": "epoch", "epoch": 2, "seconds": 3.0},
    ]
    return suite_report.Context(logs, {"htnet": "not run: large", "rcn": "not run"})


def test_files_say_the_same(results, tmp_path):
    path = suite_report.write(tmp_path, results, CONFIG, [], context())
    page = path.read_text(encoding="utf-8")
    told = json.loads((tmp_path / "suite.json").read_text(encoding="utf-8"))
    assert told["best"] == "svm_linear"
    with (tmp_path / "suite.csv").open(encoding="utf-8") as file:
        lines = {line["model"]: line for line in csv.DictReader(file)}
    assert list(lines) == list(TABLES)
    own = told["models"][1]
    assert float(lines["ststnet"]["all_uf1"]) == own["scores"]["all"]["uf1"]
    assert float(lines["ststnet"]["smic_uar"]) == own["scores"]["smic"]["uar"]
    assert float(lines["ststnet"]["to_best_uf1_difference"]) == own["to_best"]["difference"]["uf1"]
    assert (lines["ststnet"]["parameters"], lines["ststnet"]["training_seconds"]) == ("1683", "5.0")
    assert lines["ststnet"]["published_uf1"] == "0.735"
    assert lines["svm_linear"]["training_seconds"] == "1.5"
    assert f"{own['scores']['all']['uf1']:.3f} ± " in page
    assert "not run: large" in page
    assert page.count("chosen on the test subject") == 6  # four methods, the mark, the caveat


def test_the_list_of_contents_leads_to_every_section(results):
    page = suite_report.render(results, CONFIG, [], context())
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', page)
    assert links == re.findall(r'<section id="([^"]+)">\s*<h2>([^<]+)</h2>', page)
    assert ("scores-by-database", "Scores by database") in links
    assert re.findall(r"<h3>([^<]+)</h3>", page) == ["samm", "smic"]


def test_the_page_links_to_every_models_report_and_needs_nothing_else(results):
    bad = "<b onclick=x>&"
    faults = suite_report.Context(context().logs, {"htnet": bad})
    events = [{"event": "start", "command": bad, "versions": {bad: bad}, "devices": [bad]}]
    page = suite_report.render(results, CONFIG | {"name": bad}, events, faults)
    assert bad not in page
    assert page.count("&lt;b onclick=x&gt;&amp;") == 6  # title, h1, reason, version twice, devices
    assert not re.search(r"https?:|javascript:|url\(|src=|<script|<link|<iframe|@import", page)
    links = re.findall(r'href="([^#"][^"]*)"', page)
    assert set(links) == {f"{name}/report.html" for name in TABLES}


def test_published_figures_stand_in_columns_that_say_so(results, tmp_path):
    page = suite_report.write(tmp_path, results, CONFIG, [], context()).read_text(encoding="utf-8")
    assert '<th scope="col">published</th>' in page
    assert "<td>0.735 / 0.761</td>" in page
    for row in published.COMPOSITE:
        assert f"<td>{row.uf1:.3f}</td>" in page
    text = suite_report.text_table(results)
    assert max(map(len, text.splitlines())) <= 80
    (line,) = [line for line in text.splitlines() if line.startswith("ststnet")][:1]
    assert line.endswith("0.735")
    assert "  seeds averaged " in text
    assert "UF1 of each database" in text


def test_beside_other_clips_no_published_figure_stands(results, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "COMPOSITE_CLIPS", 442)
    page = suite_report.write(tmp_path, results, CONFIG, [], context()).read_text(encoding="utf-8")
    assert "0.735 / 0.761" not in page
    assert "0.735" not in suite_report.text_table(results)
    assert ",0.735," not in (tmp_path / "suite.csv").read_text()


def test_every_published_network_has_its_figure():
    for name, model in zoo.MODELS.items():
        figure = published.composite(model.title)
        assert (figure is None) == (model.classical or name in ("msres2d",)), name


def test_an_upper_bound_is_no_result(tmp_path):
    told = suite_results.results(TABLES, "oracle")
    assert told["upper_bound"]
    page = suite_report.write(tmp_path, told, CONFIG, [], context()).read_text(encoding="utf-8")
    for text in (page, suite_report.text_table(told)):
        assert "This is not a result." in " ".join(text.split())
    assert "upper_bound" in (tmp_path / "suite.csv").read_text()


def test_tables_of_other_clips_are_refused():
    fewer = of(GOOD).take(np.arange(11))
    with pytest.raises(UserError, match="not tested on the same clips"):
        suite_results.results(TABLES | {"rcn": fewer}, "mean")


def test_of_diverged_models_alone_there_is_a_page(tmp_path):
    broken = of(GOOD)
    broken.probabilities[:3], broken.train_loss[:3] = np.nan, np.nan
    told = suite_results.results({"ststnet": broken}, "mean")
    path = suite_report.write(tmp_path, told, CONFIG, [], context())
    assert "1 training diverged" in path.read_text(encoding="utf-8")
    assert "1 training diverged" in suite_report.text_table(told)
