import dataclasses
import html.parser
import json
import re

import numpy as np
import pytest

from helpers import ROOT
from helpers.made_report import EVENTS, NAMES, PNG, config, epoch, made
from mser_jax.evaluate import inflated, scoring
from mser_jax.evaluate.compare import published
from mser_jax.evaluate.predictions import Predictions
from mser_jax.report.run import page as report
from mser_jax.storage import history


@pytest.fixture(scope="module")
def page():
    scores = scoring.score(made(), "confidence")
    return scores, report.render(scores, config(), EVENTS)


class Reader(html.parser.HTMLParser):
    """Collects the tags with their attributes, the text, and whether tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def words(text):
    """The text of a page, with single spaces."""
    return " ".join(" ".join(Reader(text).text).split())


def column_titles(text):
    """The titles of the columns of each table."""
    heads = re.findall(r"<thead>(.*?)</thead>", text)
    return [re.findall(r'<th scope="col">(.*?)</th>', head) for head in heads]


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page):
    reader = Reader(page[1])
    assert not reader.open
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    targets = [
        value
        for _, attributes in reader.tags
        for name, value in attributes.items()
        if name in ("src", "href") or name.startswith("on")
    ]
    targets = [target for target in targets if not target.startswith("#")]
    assert len(targets) == 3
    assert all(target.startswith("data:image/png;base64,") for target in targets)
    assert not re.search(r"https?:|@import|url\(", page[1])
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page[1])
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_page_shows_the_figures_of_the_metrics(page):
    scores, text = page
    content = words(text)
    for column in ("accuracy", "uf1", "uar", "f1_weighted", "accuracy_fold_mean"):
        assert f"{scores[column]:.3f}" in content
    for low, high in (scores["interval"][name] for name in ("accuracy", "uf1", "uar")):
        assert f"{low:.3f} to {high:.3f}" in content
    for row in (*scores["rules"], scores["majority"]):
        assert f"{row['f1_macro']:.3f}" in content
    for line in (
        "no face found",
        "codes.xlsx",
        "joy 5 17",
        "apex: no apex is marked 23",
        "1234",
        "12.5",
        "0.10.2",
        "2.125",
        "cpu:0",
        "0.002 (Adam)",
    ):
        assert line in content
    assert EVENTS[0]["command"] in "".join(Reader(text).text)


def test_the_contents_list_every_section(page):
    scores, text = page
    probabilities = np.stack([made().probabilities] * 2)
    claimed = inflated.results(made(), probabilities, "confidence")
    longest = report.render(scores, config("casme2"), EVENTS, claimed)
    for text, count in ((page[1], 11), (longest, 13)):
        (contents,) = re.findall(r'<nav aria-label="Contents">(.*?)</nav>', text, re.DOTALL)
        links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', contents)
        assert links == re.findall(r'<section id="([^"]+)">\s*<h2>([^<]+)</h2>', text)
        assert len(dict(links)) == count


def test_the_bars_of_the_intervals_have_a_scale_from_0_to_1(page):
    scores, text = page
    for column in ("accuracy", "uf1", "uar"):
        low, high = scores["interval"][column]
        bar = (
            f'<i style="left:{low:.2%};width:{high - low:.2%}"></i>'
            f'<u style="left:{scores[column]:.2%}"></u></span>'
        )
        assert f'{bar}\n<span class="scale"><small>0</small><small>1</small></span>' in text
    assert text.count('class="scale"') == 3


def test_no_column_repeats_another(tmp_path):
    scores = scoring.score(made(), "mean")
    text, table = report.render(scores, config(), EVENTS), report.text_table(scores)
    assert column_titles(text)[0] == ["", "accuracy", "UF1", "UAR", "weighted F1"]
    (titles,) = (line for line in table.splitlines() if "UF1 " in line and "UAR " in line)
    assert titles.split() == ["accuracy", "UF1", "UAR", "weighted", "F1"]
    for content in (words(text), table):
        assert content.count("Macro F1 is UF1, and micro F1 is accuracy.") == 1
    report.write(tmp_path, made(), config(), EVENTS)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["f1_macro"], metrics["f1_micro"]) == (metrics["uf1"], metrics["accuracy"])


def test_heads_and_rules_are_explained_where_they_first_appear(page):
    content = words(page[1])
    first = content.index("A head is one of the network's 4 outputs")
    assert not re.search(r"\bheads?\b", content[content.index("CASME II") : first])
    rules = (
        "confidence takes, .* mean takes .* train_loss takes, .* oracle takes .* reads the label"
    )
    assert re.search(rules, content[first:])
    single = words(report.render(scoring.score(made(heads=1), "mean"), config(), EVENTS))
    assert "This model has a single one" in single
    assert "confidence takes" not in single


def test_the_gap_between_training_and_held_out_clips_is_in_words():
    scores = scoring.score(made(), "mean") | {"accuracy": 0.534}
    events = [*EVENTS[:-1], EVENTS[-1] | {"accuracy": 0.976}]
    content = words(report.render(scores, config(), events))
    assert (
        "The networks answer 98% of their training clips and 53% of the held-out clips right: a "
        "gap of 45 points."
    ) in content
    assert "on augmented clips, by the mean of the heads." in content
    events[-1]["accuracy"] = 0.53
    content = words(report.render(scores, config(), events))
    assert "53% of their training clips and 53% of the held-out clips right: no gap." in content
    events[-1]["accuracy"] = None  # every fold has failed
    assert "of the held-out clips right" not in words(report.render(scores, config(), events))
    oracle = report.render(scoring.score(made(), "oracle"), config(select="oracle"), EVENTS)
    assert "of the held-out clips right" not in words(oracle)


def test_settings_beside_the_papers_and_a_baseline_are_named():
    settings = config()
    settings["model"] = {"name": "ststnet", "head": {"dropout": 0.5}}
    settings["train"] |= {"optimizer": "sgd", "schedule": "cosine", "warmup": 1, "loss": "focal"}
    settings["train"] |= {"weight_decay": 1e-4, "class_weights": "balanced"}
    scores = scoring.score(made(), "oracle")
    content = words(report.render(scores, settings, EVENTS[:-2]))
    assert "0.002 (SGD with momentum), cosine, warm-up 1 epoch" in content
    assert "weight decay 0.0001, focal loss, balanced class weights, dropout 0.5" in content
    assert "model STSTNet (" in content
    assert "units in blocks" not in content
    assert "The epochs were not recorded." in content
    fitted = {"event": "stage", "name": "fit", "seconds": 1.0, "reused": False}
    settings["train"] = {}
    content = words(report.render(scores, settings, [EVENTS[0], fitted]))
    assert "Fitted to each fold's training clips at once, without epochs." in content
    assert "learning rate" not in content.replace("train.learning_rate", "")


def test_the_oracle_is_flagged_and_the_warnings_are_there(page):
    content = words(page[1])
    assert re.search(r"oracle\s+upper bound: uses the label", content)
    assert "Not for decisions about people" in content
    assert content.count("says nothing about SMIC, SAMM or CASME II") == 2
    assert "This is not a result" not in content


def test_a_run_that_reports_the_oracle_says_so_first():
    scores = scoring.score(made(), "oracle")
    text = report.render(scores, config(select="oracle"), EVENTS)
    assert text.index("This is not a result") < text.index("<h2>")


def test_leave_one_sample_out_carries_its_warning():
    scores = scoring.score(made(), "confidence")
    text = report.render(scores, config(protocol="leave_one_sample_out"), EVENTS)
    assert "other clips were in the training" in text


def test_the_confidence_is_told_with_what_it_does_not_hold_for(page):
    scores, text = page
    content = words(text)
    fitted = scores["calibration"]
    for quality in (fitted["before"], fitted["after"]):
        for name in ("nll", "brier", "ece"):
            assert f"{quality[name]:.3f}" in content
    assert f"Temperature {fitted['temperature']:.3g}" in content
    assert re.search(r"not hold for another camera .* other people .* posed or synthetic", content)
    assert "cross-fitted" in content


def test_the_confidence_of_one_person_and_of_the_upper_bound_is_told():
    alone = dataclasses.replace(made(), subject=np.full(32, "s01"))
    text = report.render(scoring.score(alone, "mean"), config(), EVENTS)
    assert "With a single subject there is nobody to try it on" in text
    assert "cross-fitted" not in text
    text = report.render(scoring.score(made(), "oracle"), config(select="oracle"), EVENTS)
    assert "has no confidence of its own" in text


def test_every_database_has_its_confusion_and_subjects_their_database():
    dataset = np.where(np.arange(32) < 16, "casme2", "samm")
    scores = scoring.score(dataclasses.replace(made(), dataset=dataset), "mean")
    whole = np.array(scores["confusion"])
    each = [np.array(row["confusion"]) for row in scores["per_dataset"]]
    np.testing.assert_array_equal(np.sum(each, axis=0), whole)
    text = report.render(scores, config("megc2019"), EVENTS)
    assert [text.count(f"<h3>{name}</h3>") for name in ("all databases", "casme2", "samm")] == [
        1
    ] * 3
    assert text.count('class="heat"') == 3
    for counts in (whole, *each):
        row = counts[0]
        cells = re.findall(
            rf"<strong>{row[0]}</strong><small>{row[0] / row.sum():.0%}</small>", text
        )
        assert cells, "a count without its rate"
    assert "casme2/<wbr>s01" in text
    single = report.render(scoring.score(made(), "mean"), config(), EVENTS)
    assert single.count('class="heat"') == 1


def test_the_hardest_clips_are_there_without_pictures(page):
    scores, text = page
    content = words(text)
    assert scores["hardest"]["clips"]
    for place, row in enumerate(scores["hardest"]["clips"], 1):
        assert f"{place}. {row['subject']}/{row['clip']}" in content
        assert f"true: {row['true']}, {row['p_true']:.1%}" in content
    assert "Pictures are missing" in content


def test_every_text_is_escaped(page):
    assert "<b>run</b>" not in page[1]
    assert "a &lt;b&gt;run&lt;/b&gt;" in page[1]
    assert "&lt;other &amp; more&gt;" in page[1]


def test_published_figures_stand_only_beside_their_own_data_set():
    scores = scoring.score(made(), "confidence")
    assert "91.35" not in report.render(scores, config(), EVENTS)
    text = report.render(scores, config("casme2"), EVENTS)
    assert "91.35" in text
    assert "These clips are synthetic" not in text
    assert "84.77" not in text
    assert "not strictly comparable" in text
    assert text.count("<td>published</td>") == 12


def test_published_rows():
    assert [published.rows(name)[-1].accuracy for name in ("smic", "samm", "casme2")] == [
        *(74.6, 84.77, 91.35),
    ]
    rows = published.rows("samm")
    assert (rows[0].method, rows[0].accuracy, rows[0].f1) == ("LBP-TOP", 46.22, 0.488)
    assert {row.source for row in rows} == {"published"}
    assert not any("inception" in row.method.lower() for row in rows)
    assert published.rows("synthetic") == []


def test_write_leaves_its_files_and_the_same_ones_again(tmp_path):
    path = report.write(tmp_path, made(), config(), EVENTS)
    assert path == tmp_path / "report.html"
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"metrics.json", "confusion.png", "curves.png", "report.html"}
    assert before["confusion.png"].startswith(PNG)
    assert before["curves.png"].startswith(PNG)
    assert json.loads(before["metrics.json"]) == scoring.score(made(), "confidence")
    report.write(tmp_path, made(), config(), EVENTS)
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_run_without_a_log_still_has_a_report(tmp_path):
    text = report.write(tmp_path, made(heads=1), config(), []).read_text()
    assert "not recorded" in text
    assert "python -m mser_jax.main --config=configs/synthetic.py:smoke" in "".join(
        Reader(text).text
    )
    assert not (tmp_path / "curves.png").exists()


def test_the_terminal_table_fits_80_columns_and_shows_the_metrics():
    predictions = dataclasses.replace(made(), class_names=("a" * 40, *NAMES[1:]))
    scores = scoring.score(predictions, "mean")
    text = report.text_table(scores)
    assert max(map(len, text.splitlines())) <= 80
    (reported,) = (line for line in text.splitlines() if line.startswith("mean *"))
    assert reported.split()[2:4] == [f"{scores['accuracy']:.3f}", f"{scores['uf1']:.3f}"]
    assert "upper bound: uses the label" in text
    assert f"{scores['interval']['uar'][0]:.3f}" in text


def test_many_seeds_keep_the_terminal_table_narrow():
    parts = [dataclasses.replace(made(), seed=np.full(32, seed)) for seed in range(100, 120)]
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Predictions)
        if field.name != "class_names"
    }
    scores = scoring.score(Predictions(**columns, class_names=NAMES), "confidence")
    text = report.text_table(scores)
    assert max(map(len, text.splitlines())) <= 80
    assert "32 clips, 4 subjects, 4 folds, 20 seeds" in text
    assert "scores are means over the seeds" in text
    assert "scores are means over the seeds" not in report.text_table(scoring.score(made(), "mean"))
    assert "standard deviation" in report.render(scores, config(), EVENTS)


def test_a_resumed_run_counts_every_epoch_once():
    events = [epoch(1, 3.0), epoch(2, 2.0), epoch(3, 1.0), epoch(2, 2.5), epoch(3, 1.5)]
    assert [event["loss"] for event in history.epochs(events)] == [3.0, 2.5, 1.5]


def test_a_reused_stage_keeps_the_time_of_its_making():
    stages = [
        {"event": "stage", "name": "shards", "seconds": seconds, "reused": reused}
        for seconds, reused in ((9.0, False), (0.1, True))
    ]
    assert [stage["seconds"] for stage in history.stages(stages)] == [9.0]
    assert [stage["seconds"] for stage in history.stages(stages[1:])] == [0.1]


def test_the_run_again_command_is_that_of_the_training():
    again = {"event": "start", "mode": "report", "command": "other"}
    assert history.start_event([*EVENTS, again]) == EVENTS[0]
    assert history.start_event([again]) == again


def test_what_is_fitted_without_epochs_was_started_by_its_own_command():
    fitted = {"event": "stage", "name": "fit", "seconds": 1.0, "reused": False}
    again = {"event": "start", "mode": "report", "command": "other"}
    assert history.start_event([EVENTS[0], fitted, again]) == EVENTS[0]


@pytest.mark.parametrize("mode", ["--mode=train", "--mode train", "-mode=train"])
def test_the_run_again_command_is_of_the_whole_run(mode):
    events = [dict(EVENTS[0], command=f"python -m mser_jax.main {mode} --workdir=a"), *EVENTS[1:]]
    text = report.render(scoring.score(made(), "mean"), config(), events)
    assert "python -m mser_jax.main --workdir=a" in "".join(Reader(text).text)


def test_the_document_carries_the_same_published_figures():
    document = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    columns = zip(*(published.rows(name) for name in ("smic", "samm", "casme2")), strict=True)
    for row in columns:
        cells = [f"{cell.accuracy:.2f}, {cell.f1:.3f}" for cell in row]
        assert f"| {row[0].method} | {' | '.join(cells)} |" in document
