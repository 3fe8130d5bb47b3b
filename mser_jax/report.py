"""The report of a run, as a page and as a table for the terminal.

Everything is a function of the table of predictions, the configuration and the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.fields import flat
from mser_jax import history, metrics, page, plots, published
from mser_jax.page import Markup
from mser_jax.table import Predictions

_COLUMNS = ("accuracy", "uf1", "uar", "f1_macro", "f1_weighted", "f1_micro")
_TITLES = ("accuracy", "UF1", "UAR", "F1 macro", "weighted", "micro")
_CLASS_TITLES = ("clips", "precision", "recall", "F1")
UPPER_BOUND = "upper bound: uses the label"
ABSENT = "not recorded"
_WARNING = (
    "What a model makes of a face does not say what a person feels, least of all when it was "
    "trained on posed or synthetic clips. Not for decisions about people."
)
_UNSEEN = (
    "is answered by a network that never saw its {}, after the last epoch, which was fixed in "
    "advance."
)
_PROTOCOLS = {
    "loso": "Leave one subject out, {folds}: every clip " + _UNSEEN.format("subject"),
    "leave_one_sample_out": "Leave one sample out, {folds}: the subject's other clips were in the "
    "training, so these figures are higher than what an unknown person would get.",
    "k_fold": "Subjects divided into {folds}, whole and with about as many clips in each: every "
    "clip " + _UNSEEN.format("subject"),
    "hold_out": "Hold out the database {held_out}: each of its clips "
    + _UNSEEN.format("database")
    + " The clips of the other databases were trained on and are not tested.",
    "cross_database": "Leave one database out, {folds}: every clip " + _UNSEEN.format("database"),
}
SYNTHETIC = "Accuracy on synthetic clips says nothing about SMIC, SAMM or CASME II."


def write(
    workdir: Path, predictions: Predictions, config: Mapping[str, Any], events: list[dict]
) -> Path:
    """Write metrics.json, confusion.png, curves.png and report.html into `workdir`.

    Args:
      workdir: an existing folder.
      predictions: the table.
      config: the run's fields, as in config.json.
      events: the lines of log.jsonl.

    Returns:
      The path of the page.
    """
    workdir = Path(workdir)
    scores = metrics.score(predictions, config["evaluation"]["select"])
    (workdir / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    matrix = plots.confusion(np.array(scores["confusion"]), scores["class_names"])
    (workdir / "confusion.png").write_bytes(plots.png(matrix))
    if epochs := history.epochs(events):
        curves = plots.curves(epochs, len(scores["class_names"]))
        (workdir / "curves.png").write_bytes(plots.png(curves))
    path = workdir / "report.html"
    path.write_text(render(scores, config, events), encoding="utf-8")
    return path


def text_table(scores: Mapping[str, Any]) -> str:
    """The result for a terminal, at most 80 columns wide.

    Args:
      scores: as `metrics.score` returns them.
    """
    lines = [counts(scores), "", text_row("", _TITLES)]
    for name, row, is_reported in _result_rows(scores):
        lines.append(text_row(f"{name}{' *' * is_reported}", [number(row[c]) for c in _COLUMNS]))
        if is_reported:
            lows, highs = _bounds(scores)
            lines += [text_row("  95 % from", lows), text_row("  95 % to", highs)]
            if spread := scores["seed_std"]:
                deviations = [number(spread[c]) for c in _COLUMNS]
                lines.append(text_row("  deviation over seeds", deviations))
        if row.get("upper_bound"):
            lines.append(f"  ({UPPER_BOUND})")
    if len(scores["per_dataset"]) > 1:
        lines += ["", "by database, under that rule *"]
        lines += [
            text_row(row["dataset"], [short(row[c]) for c in _COLUMNS])
            for row in scores["per_dataset"]
        ]
    lines += ["", "* the rule that is reported; intervals: bootstrap over subjects"]
    if scores["seed_std"]:
        lines.append("scores are means over the seeds; the intervals are of these means")
    if any(row["uf1"] is None for row in scores["per_dataset"]):
        lines.append("-: a class has no clip there, and UF1 and UAR are not defined")
    return "\n".join(lines)


def render(scores: Mapping[str, Any], config: Mapping[str, Any], events: list[dict]) -> str:
    """The page, in one file that needs nothing from outside.

    Args:
      scores: as `metrics.score` returns them.
      config: the run's fields, as in config.json.
      events: the lines of log.jsonl.
    """
    name = config["name"]
    return page.document(
        f"{name}: report of a run",
        _head(scores, config, events),
        _results(scores),
        _published(scores, config),
        _confusion(scores),
        _breakdown(scores),
        _subjects(scores),
        _curves(scores, events),
        _what_was_run(scores, config, events),
        _data(scores, events),
        _time(events),
        _again(config, events),
        footer(),
    )


def _head(scores: Mapping, config: Mapping, events: list[dict]) -> Markup:
    start = history.started(events)
    parts = [
        page.tag("p", "mser_jax · micro-expression recognition", class_="over"),
        page.tag("h1", config["name"]),
        page.tag("p", protocol(config, scores["folds"]), class_="lead"),
        page.tag("p", f"{counts(scores)} · {start.get('date', 'date ' + ABSENT)}", class_="small"),
    ]
    if config["data"]["dataset"] == "synthetic":
        parts.append(page.tag("p", f"These clips are synthetic. {SYNTHETIC}", class_="note"))
    if scores["upper_bound"]:
        note = f"The rule reported is {scores['rule']}: {UPPER_BOUND}. This is not a result."
        parts.append(page.tag("p", note, class_="note"))
    return page.tag("header", page.join(parts))


def footer() -> Markup:
    """What every page says at its end."""
    return page.tag("footer", page.tag("p", page.tag("strong", _WARNING)), page.tag("p", SYNTHETIC))


def protocol(config: Mapping, folds: int) -> str:
    """Who was tested by whom, in a sentence."""
    evaluation = config["evaluation"]
    sentence = _PROTOCOLS[evaluation["protocol"]]
    return sentence.format(folds=many(folds, "fold"), held_out=evaluation.get("held_out"))


def _results(scores: Mapping) -> Markup:
    rows = list(_result_rows(scores))
    marked = next(index for index, row in enumerate(rows) if row[2])
    cells = [
        [_rule_name(name, row), *(number(row[column]) for column in _COLUMNS)]
        for name, row, _ in rows
    ]
    interval = scores["interval"]
    undefined = (
        f" In {interval['undefined']} resamples a class had no clip: they are left out of the "
        "intervals of UF1 and UAR."
        if interval["undefined"]
        else ""
    )
    return page.section(
        "Result",
        page.tag(
            "div", *(_card(scores, column) for column in ("accuracy", "uf1", "uar")), class_="cards"
        ),
        page.tag(
            "p",
            "Point: this run. Bar: its 95 % interval. Tick: always answering ",
            page.tag("em", scores["majority"]["class"]),
            ".",
            class_="small",
        ),
        page.table(["", *_TITLES], cells, marked),
        page.tag(
            "p",
            "The first rows differ in how the answer is chosen among the heads (3.4); the marked "
            "one is what this run reports. UF1 and UAR are the means over the classes of F1 and "
            "recall from one confusion matrix pooled over all folds; UF1 is the macro F1. Weighted "
            "means F1 weighted by clips; micro F1 equals accuracy. Mean of the folds' accuracies: "
            f"{number(scores['accuracy_fold_mean'])}. Intervals: {interval['resamples']} "
            f"bootstrap resamples of the subjects.{undefined}",
            class_="small",
        ),
        _seeds(scores),
    )


def _rule_name(name: str, row: Mapping) -> object:
    if not row.get("upper_bound"):
        return name
    return page.join([name, page.tag("span", UPPER_BOUND, class_="tag")], " ")


def _card(scores: Mapping, column: str) -> Markup:
    interval = scores["interval"][column]
    note = "no interval" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
    return page.tag(
        "div",
        page.tag("span", _TITLES[_COLUMNS.index(column)], class_="name"),
        page.tag("span", number(scores[column]), class_="value"),
        page.tag("small", note),
        page.strip(scores[column], interval, scores["majority"][column]),
        class_="card",
    )


def _seeds(scores: Mapping) -> Markup:
    spread = scores["seed_std"]
    if spread is None:
        return Markup("")
    rows = [[row["seed"], *(number(row[c]) for c in _COLUMNS)] for row in scores["per_seed"]]
    rows.append(["mean", *(number(scores[c]) for c in _COLUMNS)])
    rows.append(["standard deviation", *(number(spread[c]) for c in _COLUMNS)])
    told = (
        "Each seed is a training of all folds. The scores above are the means of the seeds' "
        "scores, and the intervals are of these means, for other subjects; the standard deviation "
        "(n - 1) says how much one training differs from another."
    )
    table = page.table(["seed", *_TITLES], rows, len(rows) - 2)
    return page.join([table, page.tag("p", told, class_="small")])


def _published(scores: Mapping, config: Mapping) -> Markup:
    others = published.rows(config["data"]["dataset"])
    if not others:
        return Markup("")
    rows = [["this run", f"{scores['accuracy']:.2%}"[:-1], number(scores["f1_macro"]), "this run"]]
    rows += [[row.method, f"{row.accuracy:.2f}", number(row.f1), row.source] for row in others]
    return page.section(
        "Beside published figures",
        page.table(["method", "accuracy %", "F1", "source"], rows, 0),
        page.tag("p", f"This run's F1 is the macro F1. {published.CAVEAT}", class_="small"),
    )


def _confusion(scores: Mapping) -> Markup:
    several = " The answers of all seeds together." if len(scores["seeds"]) > 1 else ""
    return page.section(
        "Confusion",
        page.tag(
            "p",
            f"Rows: the true class, with each answer's share of the row.{several}",
            class_="small",
        ),
        page.heat(scores["confusion"], scores["class_names"]),
    )


def _breakdown(scores: Mapping) -> Markup:
    parts = [page.table(["class", *_CLASS_TITLES], _class_cells(scores["per_class"]))]
    if len(scores["per_dataset"]) > 1:
        databases = [
            [row["dataset"], row["clips"], row["subjects"], *(number(row[c]) for c in _COLUMNS)]
            for row in scores["per_dataset"]
        ]
        classes = [
            [f"{row['dataset']}: {name}", *cells]
            for row in scores["per_dataset"]
            for name, *cells in _class_cells(row["per_class"])
        ]
        parts.append(page.table(["database", "clips", "subjects", *_TITLES], databases))
        parts.append(page.table(["database: class", *_CLASS_TITLES], classes))
    return page.section("By class", *parts)


def _class_cells(rows: Iterable[Mapping]) -> list[list[object]]:
    return [
        [row["class"], row["clips"], *(number(row[c]) for c in ("precision", "recall", "f1"))]
        for row in rows
    ]


def _subjects(scores: Mapping) -> Markup:
    one = len(scores["per_dataset"]) == 1
    rows = [
        [
            row["subject"] if one else f"{row['dataset']}/{row['subject']}",
            row["clips"],
            number(row["accuracy"]),
            page.bar(row["accuracy"]),
        ]
        for row in scores["per_subject"]
    ]
    return page.section(
        "By subject", page.table(["held-out subject", "clips", "accuracy", ""], rows)
    )


def _curves(scores: Mapping, events: list[dict]) -> Markup:
    epochs = history.epochs(events)
    if not epochs:
        return page.section("Training", page.tag("p", f"The epochs were {ABSENT}."))
    last = epochs[-1]
    classes = len(scores["class_names"])
    return page.section(
        "Training",
        page.tag(
            "div",
            page.image(plots.png(plots.loss(epochs)), "training loss over the epochs"),
            page.image(plots.png(plots.accuracy(epochs, classes)), "training accuracy over epochs"),
            class_="figures",
        ),
        page.tag(
            "p",
            f"On training clips only; no held-out clip was looked at before the end. After epoch "
            f"{last['epoch']}: loss {last['loss']:.3f}, accuracy {last['accuracy']:.3f}.",
            class_="small",
        ),
    )


def _what_was_run(scores: Mapping, config: Mapping, events: list[dict]) -> Markup:
    train, model, prep = config["train"], config["model"], config["prep"]
    plan = history.last(events, "train")
    rows = [
        ("data set", config["data"]["dataset"]),
        ("preset", config["preset"]),
        ("learning rate", f"{train['learning_rate']:g} (Adam)"),
        ("epochs", train["epochs"]),
        ("batch", f"{train['batch_size']} clips a fold"),
        ("updates an epoch", plan.get("updates_per_epoch", ABSENT)),
        ("augmentation", config["augment"]["mode"]),
        ("input", f"{prep['steps']} steps of {prep['size']} x {prep['size']} px"),
        ("network", f"{model['block']}, width {model['width']}"),
        ("units in blocks 2 to 5", ", ".join(map(str, model["depths"]))),
        ("parameters", plan.get("parameters", ABSENT)),
        ("seed", ", ".join(map(str, scores["seeds"]))),
    ]
    return page.section("What was run", page.pairs(rows))


def _data(scores: Mapping, events: list[dict]) -> Markup:
    data = history.last(events, "data")
    dropped = data.get("dropped")
    only_trained_on = data.get("clips", scores["clips"]) - scores["clips"]
    if dropped is None:
        body = page.tag("p", f"Whether clips were dropped was {ABSENT}.")
    elif not dropped and not only_trained_on:
        body = page.tag("p", f"No clip was dropped; {scores['clips']} were evaluated.")
    else:
        rows = [(f"dropped: {reason}", clips) for reason, clips in dropped.items()]
        rows += [("trained on and not tested", only_trained_on)] if only_trained_on else []
        rows.append(("evaluated", scores["clips"]))
        body = page.table(["", "clips"], rows, len(rows) - 1)
    about = (*_release(data.get("release", {})), *_repaired(data.get("repaired", {})))
    return page.section("Clips", *about, body)


def _release(release: Mapping) -> Iterator[Markup]:
    """What a database was read from, and its classes beside what is stated of it."""
    facts = [(name, value) for name, value in release.items() if isinstance(value, str)]
    if facts:
        yield page.pairs(facts)
    stated = release.get("stated")
    if stated:
        found = release["clips"]
        rows = [(name, found.get(name, 0), count) for name, count in stated.items()]
        yield page.table(["class", "clips", "stated"], rows)


def _repaired(repaired: Mapping) -> Iterator[Markup]:
    if repaired:
        yield page.table(["repaired in the annotation", "values"], repaired.items())


def _time(events: list[dict]) -> Markup:
    stages = history.stages(events)
    if not stages:
        return page.section("Time", page.tag("p", f"The stages were {ABSENT}."))
    total = max(sum(stage["seconds"] for stage in stages), 1e-9)
    rows = [
        [
            stage["name"],
            f"{stage['seconds']:.1f}",
            "reused" if stage["reused"] else "",
            page.bar(stage["seconds"] / total),
        ]
        for stage in stages
    ]
    return page.section("Time", page.table(["stage", "seconds", "", ""], rows))


def _again(config: Mapping, events: list[dict]) -> Markup:
    start = history.started(events)
    dataset = config["data"]["dataset"]
    default = f"python -m mser_jax.main --config=configs/{dataset}.py:{config['preset']}"
    versions = start.get("versions", {})
    rows = [*versions.items(), ("devices", ", ".join(start.get("devices", [ABSENT])))]
    fields = [(name, json.dumps(value)) for name, value in flat(config).items()]
    return page.section(
        "How to run it again",
        page.command(start.get("command", default)),
        page.pairs(rows),
        page.tag(
            "details",
            page.tag("summary", f"The full configuration ({len(fields)} fields)"),
            page.tag("div", page.table(["field", "value"], fields), class_="config"),
        ),
    )


def _result_rows(scores: Mapping) -> Iterator[tuple[str, Mapping, bool]]:
    """(name, scores, whether it is the one reported) of every line of the result table."""
    for row in scores["rules"]:
        yield row["rule"], row, row["rule"] == scores["rule"]
    yield f"always {scores['majority']['class']}", scores["majority"], False
    yield "chance", scores["chance"], False


def counts(scores: Mapping) -> str:
    """How much was tested, for a first line."""
    seeds = scores["seeds"]
    told = [many(scores[f"{name}s"], name) for name in ("clip", "subject", "fold")]
    return ", ".join([*told, f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"])


def many(count: int, name: str) -> str:
    """A count with its noun: '1 fold', '5 folds'."""
    return f"{count} {name}{'s' * (count != 1)}"


def _bounds(scores: Mapping) -> list[list[str]]:
    intervals = [scores["interval"].get(column) for column in _COLUMNS]
    return [[number(pair[end]) if pair else "" for pair in intervals] for end in (0, 1)]


def text_row(name: str, cells: Iterable[str]) -> str:
    """A line of a table for the terminal: 24 columns for the name, 9 a cell."""
    return f"{name[:24]:<24}" + "".join(f"{cell:>9}" for cell in cells).rstrip()


def short(value: float | None) -> str:
    """A score in a narrow column."""
    return "-" if value is None else number(value)


def number(value: float | None) -> str:
    """A score, or that there is none."""
    return "undefined" if value is None else f"{value:.3f}"
