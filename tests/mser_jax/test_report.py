import dataclasses
import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mser_jax import history, published, report, scoring
from mser_jax.table import Predictions

NAMES = ("negative", "positive", "surprise", "<other & more>")
PNG = b"\x89PNG\r\n\x1a\n"


def made(heads=4):
    random = np.random.default_rng(2)
    rows = 32
    label = np.arange(rows) % 4
    weight = random.random((rows, heads, 4)) + 0.6 * np.eye(4)[label][:, None]
    probabilities = weight / weight.sum(axis=-1, keepdims=True)
    subject = np.array([f"s{row // 8 + 1:02d}" for row in range(rows)])
    return Predictions(
        dataset=np.full(rows, "synthetic"),
        subject=subject,
        clip=np.array([f"c{row % 8}" for row in range(rows)]),
        seed=np.zeros(rows, int),
        fold=subject,
        label=label,
        probabilities=probabilities.astype(np.float32),
        train_loss=random.random((rows, heads)).astype(np.float32),
        class_names=NAMES,
    )


def config(dataset="synthetic", **evaluation):
    return {
        "name": "a <b>run</b>",
        "preset": "smoke",
        "seed": 0,
        "data": {"dataset": dataset},
        "prep": {"size": 56, "steps": 8},
        "augment": {"mode": "sample"},
        "model": {"block": "bottleneck", "width": 8, "depths": [1, 1, 1, 1]},
        "train": {"learning_rate": 2e-3, "epochs": 2, "batch_size": 8},
        "evaluation": {"protocol": "loso", "select": "confidence"} | evaluation,
    }


def epoch(number, loss):
    return {
        "event": "epoch",
        "epoch": number,
        "loss": loss,
        "accuracy": 0.5,
        "fold_loss": [loss, loss + 1],
    }


EVENTS = [
    {
        "event": "start",
        "mode": "all",
        "command": "python -m mser_jax.main --config=configs/synthetic.py",
        "date": "2026-11-22",
        "versions": {"jax": "0.10.2"},
        "devices": ["cpu:0"],
    },
    {
        "event": "data",
        "dropped": {"no face found": 3},
        "repaired": {"apex: no apex is marked": 23},
        "release": {"sheet": "codes.xlsx", "clips": {"joy": 5}, "stated": {"joy": 17}},
    },
    {"event": "train", "updates_per_epoch": 7, "parameters": 1234},
    {"event": "stage", "name": "train", "seconds": 12.5, "reused": False},
    epoch(1, 3.25),
    epoch(2, 2.125),
]


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
    assert len(targets) == 2
    assert all(target.startswith("data:image/png;base64,") for target in targets)
    assert not re.search(r"https?:|@import|url\(", page[1])


def test_the_page_shows_the_figures_of_the_metrics(page):
    scores, text = page
    words = " ".join(Reader(text).text)
    for column in ("accuracy", "uf1", "uar", "f1_weighted", "accuracy_fold_mean"):
        assert f"{scores[column]:.3f}" in words
    for low, high in (scores["interval"][name] for name in ("accuracy", "uf1", "uar")):
        assert f"{low:.3f} to {high:.3f}" in words
    for row in (*scores["rules"], scores["majority"]):
        assert f"{row['f1_macro']:.3f}" in words
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
        assert line in words
    assert EVENTS[0]["command"] in "".join(Reader(text).text)


def test_the_oracle_is_flagged_and_the_warnings_are_there(page):
    words = " ".join(Reader(page[1]).text)
    assert re.search(r"oracle\s+upper bound: uses the label", words)
    assert "Not for decisions about people" in words
    assert words.count("says nothing about SMIC, SAMM or CASME II") == 2
    assert "This is not a result" not in words


def test_a_run_that_reports_the_oracle_says_so_first():
    scores = scoring.score(made(), "oracle")
    text = report.render(scores, config(select="oracle"), EVENTS)
    assert text.index("This is not a result") < text.index("<h2>")


def test_leave_one_sample_out_carries_its_warning():
    scores = scoring.score(made(), "confidence")
    text = report.render(scores, config(protocol="leave_one_sample_out"), EVENTS)
    assert "other clips were in the training" in text


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
    assert history.started([*EVENTS, again]) == EVENTS[0]
    assert history.started([again]) == again


def test_the_document_carries_the_same_published_figures():
    document = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8")
    columns = zip(*(published.rows(name) for name in ("smic", "samm", "casme2")), strict=True)
    for row in columns:
        cells = [f"{cell.accuracy:.2f}, {cell.f1:.3f}" for cell in row]
        assert f"| {row[0].method} | {' | '.join(cells)} |" in document
