import csv
import importlib.util
import json
import re
from urllib.parse import unquote

import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.common.fields import differences
from data_prep.datasets import registry
from helpers import ROOT
from helpers.made_tables import made
from mser_jax.config.defaults import ablation_config, ablation_member_config, get_config
from mser_jax.config.validation import validate
from mser_jax.evaluate.compare import ablation
from mser_jax.evaluate.compare.ablation import ADDED, LEFT_OUT, MEMBERS, PARTS
from mser_jax.report import ablation as ablation_report

CONFIGS = ROOT / "configs"
SMOKE = get_config("synthetic", "smoke")
SWITCHES = {"input.kind", "model.attention", "model.rc.on", "model.fusion.on"}
EVENTS = [
    {"event": "start", "date": "2026-11-22", "command": "python -m mser_jax.main --config=x"},
    {"event": "train", "parameters": 4321},
    {"event": "epoch", "epoch": 1, "seconds": 700.0},
    {"event": "epoch", "epoch": 2, "seconds": 65.0},  # before a stop, and anew after it
    {"event": "epoch", "epoch": 2, "seconds": 77.0},
    {"event": "stage", "name": "train", "seconds": 91.0, "reused": False},
]


def recipe(name):
    """`get_config` of a file in configs/."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", CONFIGS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


@pytest.fixture(scope="module")
def get_ablation():
    return recipe("ablation")


def between(first, second):
    """The fields in which two members differ."""
    one, other = (ablation_member_config(SMOKE, name).to_dict() for name in (first, second))
    return {field: (old, new) for field, old, new in differences(one, other) if field != "name"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("base", "+flow", {"input.kind": ("frames", "flow")}),
        ("+flow", "+attention", {"model.attention": (False, True)}),
        ("+attention", "+rc", {"model.rc.on": (False, True)}),
        ("+rc", "+fusion", {"model.fusion.on": (False, True)}),
        ("no_flow", "+fusion", {"input.kind": ("frames", "flow")}),
        ("no_attention", "+fusion", {"model.attention": (False, True)}),
        ("no_rc", "+fusion", {"model.rc.on": (False, True)}),
        ("no_fusion", "+fusion", {"model.fusion.on": (False, True)}),
    ],
)
def test_compared_members_differ_in_one_switch(first, second, expected):
    assert between(first, second) == expected
    pairs = [(each.without, each.with_) for each in (*ADDED, *LEFT_OUT)]
    assert (first, second) in pairs
    assert len(pairs) == 8


def test_base_has_no_part_and_the_last_step_is_the_whole_network():
    whole = ablation_member_config(SMOKE, "+fusion").to_dict()
    assert [field for field, *_ in differences(SMOKE.to_dict(), whole)] == ["name"]
    assert set(between("base", "+fusion")) == SWITCHES == {part.field for part in PARTS.values()}


def test_no_fusion_is_the_only_one_that_is_there_twice():
    twins = {name: ablation.canonical_member(name) for name in MEMBERS}
    assert {name: twin for name, twin in twins.items() if name != twin} == {"no_fusion": "+rc"}
    assert (
        ablation_member_config(SMOKE, "no_fusion").to_dict()
        == ablation_member_config(SMOKE, "+rc").to_dict()
    )


def test_a_member_is_the_same_alone_and_in_the_series():
    config = ablation_config(SMOKE)
    config.train.epochs = 3
    alone = get_config("synthetic", "smoke")
    alone.train.epochs = 3
    for name in MEMBERS:
        assert (
            ablation_member_config(config, name).to_dict()
            == ablation_member_config(alone, name).to_dict()
        )


@pytest.mark.parametrize("dataset", sorted({*registry.SOURCES} - {"megc2019"}))  # has no frames
def test_the_preset_is_by_default_that_of_the_data_sets_own_file(get_ablation, dataset):
    assert get_ablation(dataset).preset == recipe(dataset)().preset
    assert get_ablation(dataset).ablation.members == tuple(MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_argument_names_data_set_preset_and_member(get_ablation, name):
    config = get_ablation(f"samm-fast-{name}")
    assert config.to_dict() == ablation_member_config(get_config("samm", "fast"), name).to_dict()
    validate(config)
    assert "ablation" not in config, "one member is an ordinary run"


def test_without_an_argument_it_is_the_series_on_synthetic_clips(get_ablation):
    assert get_ablation().to_dict() == ablation_config(get_config("synthetic", "smoke")).to_dict()
    assert get_ablation().to_dict() == get_ablation("synthetic-smoke").to_dict()


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("sam", "unknown data set 'sam'. Did you mean 'samm'?"),
        ("samm-papr", "unknown preset 'papr'. Did you mean 'paper'?"),
        ("samm-paper-no_flw", "unknown member of the ablation 'no_flw'. Did you mean 'no_flow'?"),
        ("samm-no_flow", "unknown preset 'no_flow'. One of: paper, fast, smoke."),
        ("samm-paper-no-flow", "'samm-paper-no-flow' has more than three parts. After"),
        ("smoke", "unknown data set 'smoke'. One of: synthetic, smic, samm, casme2, casme3, "),
    ],
)
def test_a_wrong_argument_is_refused_with_the_nearest(get_ablation, argument, told):
    with pytest.raises(UserError) as caught:
        get_ablation(argument)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("ablation.members", ("base", "+flw"), "'+flw'. Did you mean '+flow'?"),
        ("ablation.members", (), "config.ablation.members is ()"),
        ("ablation.members", ("base", "no_flow"), "no two of them are compared"),
        ("model.attention", False, "config.model.attention is False, but each member"),
        ("input.kind", "frames", "config.input.kind is frames, but each member"),
    ],
)
def test_a_series_that_could_not_be_compared_is_refused(field, value, told):
    config = ablation_config(SMOKE)
    validate(config)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError) as caught:
        validate(config)
    assert told in str(caught.value)


def tables(members=tuple(MEMBERS)):
    """Tables of 60 clips of 6 people; a member is right more often the more parts it has."""
    label = np.arange(60) % 3
    subject = [f"s{clip // 10}" for clip in range(60)]
    hard = np.random.default_rng(1).random(60)
    made_of = {}
    for name in members:
        right = hard < 0.4 + 0.1 * len(MEMBERS[name])
        made_of[name] = made(label, np.where(right, label, (label + 1) % 3), subject=subject)
    return made_of


def written(folder, results, dataset="synthetic"):
    config = {
        "name": f"ablation-<{dataset}>",
        "data": {"dataset": dataset},
        "evaluation": {"protocol": "loso"},
    }
    logs = {row["member"]: EVENTS for row in results["members"]}
    return ablation_report.write(folder, results, config, EVENTS, logs).read_text(encoding="utf-8")


def test_gains_are_those_with_the_part_less_those_without():
    made_of = tables()
    results = ablation.results(made_of, "mean", "samm")
    accuracy = {row["member"]: row["accuracy"] for row in results["members"]}
    for name, table in made_of.items():
        right = table.probabilities[:, 0].argmax(axis=1) == table.label
        assert accuracy[name] == pytest.approx(right.mean())
    for row in (*results["added"], *results["left_out"]):
        gain = accuracy[row["with"]] - accuracy[row["without"]]
        assert row["difference"]["accuracy"] == pytest.approx(gain)
        assert gain > 0
        assert row["part"] in MEMBERS[row["with"]]
        assert row["part"] not in MEMBERS[row["without"]]


@pytest.mark.parametrize(
    ("dataset", "fusion"), [("smic", "3.08"), ("casme2", "3.7"), ("samm", "1.86")]
)
def test_published_gains_stand_beside_the_series_of_the_paper_only(tmp_path, dataset, fusion):
    results = ablation.results(tables(), "confidence", dataset)
    told = {row["part"]: row["published_points"] for row in results["added"]}
    assert told == {"flow": "about 4", "attention": None, "rc": None, "fusion": fusion}
    assert not any(row["published_points"] for row in results["left_out"])
    text = ablation_report.text_table(results)
    assert f"  published gain {fusion} points" in re.sub(r"(?<=\S) +", " ", text)
    assert "published: the gain in accuracy" in " ".join(text.split()).lower()
    assert "It was not computed here" in " ".join(text.split())
    assert '<th scope="col">published</th>' in written(tmp_path, results, dataset)


def test_no_published_gain_stands_beside_synthetic_clips(tmp_path):
    results = ablation.results(tables(), "confidence", "synthetic")
    assert "ublished" not in ablation_report.text_table(results) + written(tmp_path, results)


def test_the_table_fits_a_terminal_and_says_what_is_what():
    results = ablation.results(tables(), "confidence", "casme2")
    lines = ablation_report.text_table(results).splitlines()
    assert max(map(len, lines)) <= 80
    row = next(row for row in results["left_out"] if row["part"] == "attention")
    at = next(at for at, line in enumerate(lines) if line.startswith("no_attention -> +fusion"))
    assert lines[at].split()[3:] == [
        *(f"{row['difference'][name]:+.3f}" for name in ("accuracy", "uf1", "uar")),
        str(row["gained"]),
        str(row["lost"]),
        f"{row['mcnemar_p']:.3f}",
    ]
    low, high = row["interval"]["accuracy"]
    assert lines[at + 1].split()[:4] == ["95", "%", "from", f"{low:+.3f}"]
    assert lines[at + 2].split()[:4] == ["95", "%", "to", f"{high:+.3f}"]
    assert any(line.startswith("no_fusion (same as +rc) ") for line in lines)
    told = " ".join(" ".join(lines).split())
    assert "p tends to be too small" in told
    assert "not for other seeds" in told
    assert "Nothing is corrected for the number of comparisons" in told


def test_an_upper_bound_is_called_so_wherever_it_shows(tmp_path):
    for rule, expected in (("confidence", False), ("oracle", True)):
        results = ablation.results(tables(), rule, "smic")
        text, html = ablation_report.text_table(results), written(tmp_path, results)
        told = json.loads((tmp_path / "ablation.json").read_text())
        with (tmp_path / "ablation.csv").open(newline="") as file:
            cells = {row["upper_bound"] for row in csv.DictReader(file)}
        assert ("upper bound: uses the label" in text) == expected
        assert ("upper bound: uses the label" in html) == expected
        assert ("This is not a result" in html) == expected
        assert told["upper_bound"] == expected
        assert cells == {str(expected)}


def test_the_page_links_to_every_members_report_and_needs_nothing_else(tmp_path):
    results = ablation.results(tables(), "confidence", "synthetic")
    html = written(tmp_path, results)
    links = [part.split('"')[0] for part in html.split('href="')[1:] if part[0] != "#"]
    assert [unquote(link) for link in links] == [
        f"{ablation.canonical_member(name)}/report.html" for name in MEMBERS
    ]
    assert "src=" not in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert "ablation-&lt;synthetic&gt;" in html
    assert "<td>4321</td><td>777</td>" in html


def test_equal_intervals_are_drawn_alike_in_both_series(tmp_path):
    results = ablation.results(tables(), "confidence", "synthetic")
    html = written(tmp_path, results)
    strips = [part.split("</span>")[0] for part in html.split('<span class="strip">')[1:]]
    rows = [*results["added"], *results["left_out"]]
    widest = max(rows, key=lambda row: row["interval"]["accuracy"][1])
    assert widest in results["added"]
    assert len(strips) == len(rows) == 8
    assert strips[3] == strips[7], "+rc -> +fusion and no_fusion -> +fusion"


def test_every_strip_says_what_its_ends_are(tmp_path):
    results = ablation.results(tables(), "confidence", "synthetic")
    html = written(tmp_path, results)
    rows = [*results["added"], *results["left_out"]]
    limit = max(abs(end) for row in rows for end in row["interval"]["accuracy"])
    ends = re.findall(r'<span class="scale"><small>(.*?)</small><small>(.*?)</small>', html)
    assert ends == [(f"{-limit:+.3f}", f"{limit:+.3f}")] * 8


def test_the_list_of_contents_leads_to_every_section_that_is_there(tmp_path):
    for members, series in ((tuple(MEMBERS), 2), (("base", "+flow", "no_rc"), 1)):
        results = ablation.results(tables(members), "confidence", "smic")
        html = written(tmp_path, results)
        links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', html)
        assert links == re.findall(r'<section id="([^"]+)">\s*<h2>([^<]+)</h2>', html)
        assert len(links) == series + 3


def test_the_files_hold_every_comparison(tmp_path):
    results = ablation.results(tables(), "confidence", "smic")
    written(tmp_path, results, "smic")
    told = json.loads((tmp_path / "ablation.json").read_text())
    assert told == {"name": "ablation-<smic>", **results}
    with (tmp_path / "ablation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["without"], row["with"]) for row in rows] == [
        (each.without, each.with_) for each in (*ADDED, *LEFT_OUT)
    ]
    first, source = rows[0], results["added"][0]
    gain = float(first["uar_with"]) - float(first["uar_without"])
    assert float(first["uar_difference"]) == pytest.approx(gain)
    assert float(first["uf1_low"]) == source["interval"]["uf1"][0]
    assert (first["series"], first["part"]) == ("added", "flow")
    assert first["published_points"] == "about 4"


def test_members_that_are_not_there_are_not_compared():
    results = ablation.results(tables(("base", "+flow", "no_rc")), "confidence", "smic")
    assert [row["with"] for row in results["added"]] == ["+flow"]
    assert results["left_out"] == []
    assert "What each part adds to all other parts" not in ablation_report.text_table(results)
