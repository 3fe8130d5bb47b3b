"""Two finished runs, made by hand: what is compared, what is refused, what is written."""

import csv
import dataclasses
import html
import json
import re

import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.made_tables import made
from mser_jax import compare
from mser_jax.config import defaults
from mser_jax.evaluate import metrics, predictions_csv, scoring
from mser_jax.evaluate.compare import paired, runs
from mser_jax.report import compare as compare_report

PEOPLE = {"samm": 5, "smic": 4}  # subjects of six clips each; s0 of each is another person


def predictions(seeds=(0,), shift=0.0, **changes):
    """Two heads: the first is right in about 0.6 of the clips, the second in all, but less sure."""
    people = [(database, f"s{at}") for database, many in PEOPLE.items() for at in range(many)]
    rows = 6 * len(people)
    label = np.tile(np.arange(rows) % 3, len(seeds))
    hard = np.random.default_rng(1).random(rows * len(seeds))
    answer = np.where(hard < 0.6 + shift, label, (label + 1) % 3)
    dataset, subject = (np.tile(np.repeat(names, 6), len(seeds)) for names in zip(*people))
    one = made(label, answer, dataset=dataset, subject=subject, seed=np.repeat(seeds, rows))
    second = np.eye(3, dtype=np.float32)[label] * 0.4 + 0.2
    heads = np.stack([one.probabilities[:, 0], second], axis=1)
    losses = np.tile(np.array([1.0, 0.5], np.float32), (len(label), 1))
    return dataclasses.replace(one, probabilities=heads, train_loss=losses, **changes)


def run(name, of=None, **evaluation):
    """A run as `runs.read` finds it; rule and protocol are those of the configuration."""
    fields = defaults.get_config().to_dict()
    fields["evaluation"] |= evaluation
    return runs.Run(f"runs/{name}", fields, predictions() if of is None else of)


def of_both(a=None, b=None):
    return runs.results(a or run("a"), b or run("b", predictions(shift=0.15)))


def scores(of, rule, rows=slice(None)):
    return scoring.score(of.take(np.arange(len(of))[rows]), rule)


def test_each_run_answers_by_its_own_rule_full_and_per_database():
    a, b = run("a"), run("b", select="train_loss")  # the same table: the second head is all right
    results = of_both(a, b)
    assert [each["rule"] for each in results["runs"]] == ["confidence", "train_loss"]
    assert [row["dataset"] for row in results["per_dataset"]] == ["samm", "smic"]
    for row in (results["full"], *results["per_dataset"]):
        rows = np.isin(a.predictions.dataset, [row["dataset"]]) | (row["dataset"] == "all clips")
        for name in metrics.HEADLINE:
            before = scores(a.predictions, "confidence", rows)[name]
            assert row["A"][name] == pytest.approx(before)
            assert row["B"][name] == 1
            assert row["difference"][name] == pytest.approx(1 - before)
        assert row["clips"] == rows.sum()
        assert (row["gained"], row["lost"]) == (round((1 - row["A"]["accuracy"]) * rows.sum()), 0)
    assert results["full"]["subjects"] == 9


def test_differences_and_intervals_are_those_of_the_paired_comparison():
    a, b = run("a"), run("b", predictions(shift=0.15))
    full = of_both(a, b)["full"]
    expected = paired.compare({"a": a.predictions, "b": b.predictions}, "a", "b", "confidence")
    assert expected["interval"]["uf1"][0] < expected["interval"]["uf1"][1]
    for name in ("difference", "interval", "gained", "lost", "mcnemar_p"):
        assert full[name] == expected[name]


def test_the_clips_that_differ_are_named():
    results = of_both()
    a, b = predictions(), predictions(shift=0.15)
    right = [each.probabilities[:, 0].argmax(axis=1) == each.label for each in (a, b)]
    names = list(zip(a.dataset, a.subject, a.clip))
    gained = {names[row] for row in np.flatnonzero(right[1] & ~right[0])}
    assert set(results["gained_clips"]) == gained != set()
    assert len(results["gained_clips"]) == results["full"]["gained"]
    assert results["lost_clips"] == []


def test_clips_that_one_run_did_not_test_are_left_out_and_counted():
    whole = predictions(shift=0.15)
    of_samm = whole.take(whole.dataset == "samm")
    held_out = run("b", of_samm, protocol="hold_out", held_out="samm")
    results = of_both(b=held_out)
    assert [each["clips"] for each in results["runs"]] == [54, 30]
    assert [each["not_shared"] for each in results["runs"]] == [24, 0]
    assert results["full"]["clips"] == 30
    assert results["full"] == of_both()["per_dataset"][0] | {"dataset": "all clips"}
    text = compare_report.text_table(results)
    assert "A tested 24 clips that the other run did not test. They are left out here." in " ".join(
        text.split()
    )
    assert "The protocols differ (loso and hold_out)" in text
    assert "\nsamm:" not in text, "the one database is all clips"


def test_runs_of_other_folds_and_seeds_are_compared():
    a, b = predictions(seeds=[0]), predictions(seeds=[7], shift=0.15)
    b = dataclasses.replace(b, fold=np.full(len(b), "k_fold/0"))
    assert of_both(run("a", a), run("b", b))["full"] == of_both()["full"]


def test_of_unequal_numbers_of_seeds_the_means_are_compared():
    a, b = predictions(), predictions(seeds=[0, 1, 2], shift=0.15)
    results = of_both(run("a", a), run("b", b))
    full = results["full"]
    each = [scoring.score(b.take(b.seed == seed), "confidence")["uar"] for seed in range(3)]
    assert len(set(each)) == 3
    assert full["B"]["uar"] == pytest.approx(np.mean(each))
    expected = np.mean(each) - scoring.score(a, "confidence")["uar"]
    assert full["difference"]["uar"] == pytest.approx(expected)
    low, high = full["interval"]["uar"]
    assert low < expected < high
    assert (full["gained"], full["lost"], full["mcnemar_p"]) == (None, None, None)
    assert results["gained_clips"] == results["lost_clips"] == []
    lines = compare_report.text_table(results).splitlines()
    assert "With several seeds p is not given" in " ".join(lines)
    at = lines.index(next(line for line in lines if line.startswith("  B ")))
    assert lines[at + 1].split()[:3] == ["deviation", "over", "seeds"]
    assert lines[at + 1].split()[-1] == f"{np.std(each, ddof=1):.3f}"
    assert f"± {np.std(each, ddof=1):.3f}" in compare_report.render(results)


def test_a_database_without_a_class_has_a_difference_of_accuracies_only():
    whole = predictions()
    kept = ~((whole.dataset == "smic") & (whole.label == 2))
    results = of_both(run("a", whole.take(kept)))
    samm, smic = results["per_dataset"]
    assert None not in samm["difference"].values()
    assert smic["difference"]["accuracy"] is not None
    assert smic["difference"]["uf1"] is smic["interval"]["uar"] is smic["A"]["uf1"] is None
    text = compare_report.text_table(results)
    assert "-: a class has no clip there" in text
    assert re.search(r"\n  A +0\.\d{3} +- +-\n", text)


def relabelled(of):
    label = of.label.copy()
    label[4] = (label[4] + 1) % 3
    return dataclasses.replace(of, label=label)


@pytest.mark.parametrize(
    ("b", "told"),
    [
        (predictions().take(np.arange(54) % 3 < 2), "no clip of class c"),
        (relabelled(predictions()), r"do not agree on clip samm/s0/4: its label is b in .* c"),
        (predictions(class_names=("a", "b", "z")), "a, b, c, but runs/b has a, b, z"),
        (predictions(subject=np.full(54, "x")), "no clip in common; .* samm/s0/0 and samm/x/0"),
        (
            predictions(seeds=[0, 1]).take(np.arange(107)),
            r"2 seeds and 54 clips need 108 rows, .*107",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(b, told):
    with pytest.raises(UserError, match=told):
        of_both(b=run("b", b))


def test_the_table_fits_a_terminal_and_shows_the_figures():
    results = of_both(b=run("b", predictions(shift=0.15), select="oracle"))
    lines = compare_report.text_table(results).splitlines()
    assert max(map(len, lines)) <= 80
    row = results["per_dataset"][1]
    at = lines.index("smic: 24 clips of 4 subjects")
    scores = [f"{row['A'][name]:.3f}" for name in metrics.HEADLINE]
    assert lines[at + 1].split() == ["A", *scores]
    differences = [f"{value:+.3f}" for value in row["difference"].values()]
    changes = [str(row["gained"]), str(row["lost"]), f"{row['mcnemar_p']:.3f}"]
    assert lines[at + 3].split()[3:] == [*differences, *changes]
    low, high = row["interval"]["accuracy"]
    assert lines[at + 4].split()[:4] == ["95", "%", "from", f"{low:+.3f}"]
    assert lines[at + 5].split()[:4] == ["95", "%", "to", f"{high:+.3f}"]
    told = " ".join(" ".join(lines).split())
    assert "p tends to be too small" in told
    assert (
        "The rule of B is oracle (upper bound: uses the label). Its scores are not a result."
        in told
    )


def test_the_page_and_the_files_hold_the_results(tmp_path):
    b = run("<b>", predictions(shift=0.15), protocol="leave_one_sample_out")
    results = of_both(b=b)
    path = compare_report.write(tmp_path / "out", results)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'https?:|src=|href="(?!#)|<script|<b>', text)
    for part in (
        "runs/<wbr>&lt;b&gt;",
        "trains on other clips of the tested subject",
        "10 clips that",
    ):
        assert part.replace("10", str(results["full"]["gained"])) in text
    assert '<th scope="row">evaluation.protocol</th><td>&#34;loso&#34;</td>' in text
    command = "python -m mser_jax.compare runs/a 'runs/<b>'"
    assert command in html.unescape(re.sub("<.*?>", "", text))
    assert json.loads((path.parent / "compare.json").read_text()) == json.loads(json.dumps(results))
    with (path.parent / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["dataset"] for row in rows] == ["all clips", "samm", "smic"]
    for row, source in zip(rows, (results["full"], *results["per_dataset"])):
        assert float(row["uf1_B"]) - float(row["uf1_A"]) == pytest.approx(
            source["difference"]["uf1"]
        )
        assert float(row["uar_low"]) == source["interval"]["uar"][0]
        assert float(row["mcnemar_p"]) == source["mcnemar_p"]


def test_the_page_names_the_ends_of_its_strips_and_lists_its_contents():
    results = of_both()
    text = compare_report.render(results)
    rows = [results["full"], *results["per_dataset"]]
    limit = max(abs(end) for row in rows for end in row["interval"]["accuracy"])
    ends = re.findall(r'<span class="scale"><small>(.*?)</small><small>(.*?)</small>', text)
    assert ends == [(f"{-limit:+.3f}", f"{limit:+.3f}")] * len(rows)
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', text)
    assert links == re.findall(r'<section id="([^"]+)">\s*<h2>([^<]+)</h2>', text)
    assert ("clips-with-different-answers", "Clips with different answers") in links


def left_behind(folder, of, **evaluation):
    """The files of a finished run."""
    folder.mkdir()
    fields = defaults.get_config().to_dict()
    fields["evaluation"] |= evaluation
    (folder / "config.json").write_text(json.dumps(fields))
    predictions_csv.write_csv(folder / "predictions.csv", of, "mean")
    return str(folder)


def test_the_command_reads_two_folders_and_leaves_a_page(tmp_path, monkeypatch, capsys):
    folders = [
        left_behind(tmp_path / "one", predictions()),
        left_behind(tmp_path / "two", predictions(), select="train_loss"),
    ]
    monkeypatch.chdir(tmp_path)
    assert compare.main(folders) == 0
    assert "B minus A" in capsys.readouterr().out
    written = json.loads((tmp_path / "runs/compare-one-two/compare.json").read_text())
    assert [each["folder"] for each in written["runs"]] == folders
    assert [each["rule"] for each in written["runs"]] == ["confidence", "train_loss"]
    assert written["differing"] == [["evaluation.select", "confidence", "train_loss"]]


def test_a_folder_without_a_finished_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent/config\.json: No such file .* finished run"):
        runs.read(str(tmp_path / "absent"))
    folder = left_behind(tmp_path / "run", predictions())
    (tmp_path / "run" / "predictions.csv").unlink()
    with pytest.raises(UserError, match=r"predictions\.csv: no such file"):
        runs.read(folder)


@pytest.mark.parametrize("spoiled", ["{", "[]", "{}", '{"evaluation": {"select": "mean"}}'])
def test_a_configuration_that_is_not_one_is_named(tmp_path, spoiled):
    folder = left_behind(tmp_path / "run", predictions())
    (tmp_path / "run" / "config.json").write_text(spoiled)
    with pytest.raises(UserError, match=r"config\.json: not the configuration of a run"):
        runs.read(folder)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/out cannot be written.*--out"):
        compare_report.write(tmp_path / "file" / "out", of_both())
