"""The sections of a run's page on its scores: the result and its breakdowns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mser_jax.evaluate.compare import published
from mser_jax.report import html
from mser_jax.report.html import Markup
from mser_jax.report.wording import UPPER_BOUND, number, pluralize

COLUMNS = ("accuracy", "uf1", "uar", "f1_macro", "f1_weighted", "f1_micro")
TITLES = ("accuracy", "UF1", "UAR", "F1 macro", "weighted", "micro")
_CLASS_TITLES = ("clips", "precision", "recall", "F1")


def rows(scores: Mapping) -> Iterator[tuple[str, Mapping, bool]]:
    """List each line of the result table as (name, scores, whether it is reported)."""
    for row in scores["rules"]:
        yield row["rule"], row, row["rule"] == scores["rule"]
    yield f"always {scores['majority']['class']}", scores["majority"], False
    yield "chance", scores["chance"], False


def results(scores: Mapping) -> Markup:
    """Show the scores of every rule, beside a constant answer and chance."""
    lines = list(rows(scores))
    marked = next(index for index, line in enumerate(lines) if line[2])
    cells = [
        [_rule_name(name, row), *(number(row[column]) for column in COLUMNS)]
        for name, row, _ in lines
    ]
    interval = scores["interval"]
    undefined = (
        f" In {interval['undefined']} resamples a class had no clip: they are left out of the "
        "intervals of UF1 and UAR."
        if interval["undefined"]
        else ""
    )
    return html.section(
        "Result",
        html.tag("div", *(_card(scores, name) for name in COLUMNS[:3]), class_="cards"),
        html.tag(
            "p",
            "Point: this run. Bar: its 95 % interval. Tick: always answering ",
            html.tag("em", scores["majority"]["class"]),
            ".",
            class_="small",
        ),
        html.table(["", *TITLES], cells, marked),
        html.tag(
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
    return html.join([name, html.tag("span", UPPER_BOUND, class_="tag")], " ")


def _card(scores: Mapping, column: str) -> Markup:
    interval = scores["interval"][column]
    note = "no interval" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
    return html.tag(
        "div",
        html.tag("span", TITLES[COLUMNS.index(column)], class_="name"),
        html.tag("span", number(scores[column]), class_="value"),
        html.tag("small", note),
        html.interval_strip(scores[column], interval, scores["majority"][column]),
        class_="card",
    )


def _seeds(scores: Mapping) -> Markup:
    spread = scores["seed_std"]
    if spread is None:
        return Markup("")
    lines = [[_seed_label(row), *(number(row[c]) for c in COLUMNS)] for row in scores["per_seed"]]
    lines.append(["mean", *(number(scores[c]) for c in COLUMNS)])
    lines.append(["standard deviation", *(number(spread[c]) for c in COLUMNS)])
    note = (
        "Each seed is a training of all folds. The scores above are the means of the seeds' "
        "scores, and the intervals are of these means, for other subjects; the standard deviation "
        "(n - 1) says how much one training differs from another."
    )
    table = html.table(["seed", *TITLES], lines, len(lines) - 2)
    return html.join([table, html.tag("p", note, class_="small")])


def _seed_label(row: Mapping) -> str:
    unanswered = row["unanswered"]
    return f"{row['seed']}" + f" ({pluralize(unanswered, 'clip')} without an answer)" * (
        unanswered > 0
    )


def beside_published(scores: Mapping, dataset: str) -> Markup:
    """Show the run beside the published scores of its data set, if there are any."""
    others = published.rows(dataset)
    if not others:
        return Markup("")
    lines = [["this run", f"{scores['accuracy']:.2%}"[:-1], number(scores["f1_macro"]), "this run"]]
    lines += [[row.method, f"{row.accuracy:.2f}", number(row.f1), row.source] for row in others]
    return html.section(
        "Beside published figures",
        html.table(["method", "accuracy %", "F1", "source"], lines, 0),
        html.tag("p", f"This run's F1 is the macro F1. {published.CAVEAT}", class_="small"),
    )


def confusion(scores: Mapping) -> Markup:
    """Show the confusion matrix of all clips, and of each of several databases."""
    several = " The answers of all seeds together." if len(scores["seeds"]) > 1 else ""
    note = (
        "Rows: the true class. In each cell how many of its clips got that answer, and their share "
        f"of the row.{several}"
    )
    names, databases = scores["class_names"], scores["per_dataset"]
    parts = [html.confusion_table(scores["confusion"], names)]
    if len(databases) > 1:
        parts = [_titled("all databases", parts[0])]
        parts += [
            _titled(row["dataset"], html.confusion_table(row["confusion"], names))
            for row in databases
        ]
    return html.section(
        "Confusion",
        html.tag("p", note, class_="small"),
        html.tag("div", *parts, class_="matrices"),
    )


def _titled(title: str, content: Markup) -> Markup:
    return html.tag("div", html.tag("h3", title), content)


def by_class(scores: Mapping) -> Markup:
    """Show the scores of each class, and of the classes of each of several databases."""
    parts = [html.table(["class", *_CLASS_TITLES], _class_cells(scores["per_class"]))]
    if len(scores["per_dataset"]) > 1:
        databases = [
            [row["dataset"], row["clips"], row["subjects"], *(_score_cell(row, c) for c in COLUMNS)]
            for row in scores["per_dataset"]
        ]
        classes = [
            [f"{row['dataset']}: {name}", *cells]
            for row in scores["per_dataset"]
            for name, *cells in _class_cells(row["per_class"])
        ]
        parts.append(html.table(["database", "clips", "subjects", *TITLES], databases))
        parts.append(html.table(["database: class", *_CLASS_TITLES], classes))
    return html.section("By class", *parts)


def _score_cell(row: Mapping, column: str) -> Markup:
    """Return a cell with a score above its interval, if it has one."""
    bounds = row["interval"].get(column)
    interval_text = f"{number(bounds[0])} to {number(bounds[1])}" if bounds else ""
    return html.join([number(row[column]), html.tag("small", interval_text, class_="under")])


def _class_cells(lines: Iterable[Mapping]) -> list[list[object]]:
    return [
        [row["class"], row["clips"], *(number(row[c]) for c in ("precision", "recall", "f1"))]
        for row in lines
    ]


def by_subject(scores: Mapping) -> Markup:
    """Show the accuracy of each held-out subject."""
    one = len(scores["per_dataset"]) == 1
    lines = [
        [
            row["subject"] if one else html.breakable_path(f"{row['dataset']}/{row['subject']}"),
            row["clips"],
            number(row["accuracy"]),
            html.bar(row["accuracy"]),
        ]
        for row in scores["per_subject"]
    ]
    return html.section(
        "By subject", html.table(["held-out subject", "clips", "accuracy", ""], lines)
    )


def inflated_scores(results: Mapping) -> Markup:
    """Show what choosing the epoch on the test clips adds, marked as no result.

    Args:
      results: Results as returned by `inflated.results`.
    """
    chosen = [fold["epoch"] for fold in results["each_fold"]["chosen"]]
    lines = {
        f"the last epoch, {results['epochs']}: this run": results["last_epoch"],
        f"one epoch for all, {results['one_epoch']['epoch']}": results["one_epoch"],
        f"each fold its own, {min(chosen)} to {max(chosen)}": results["each_fold"],
    }
    return html.section(
        "Not a result: with the epoch chosen on the test clips",
        html.tag("p", results["not_a_result"], class_="note"),
        html.table(
            ["epoch", *TITLES[:3]],
            [[name, *_inflated_cells(row)] for name, row in lines.items()],
            0,
        ),
        html.tag("p", f"Chosen by {results['chosen_by']}.", class_="small"),
    )


def _inflated_cells(row: Mapping) -> Iterator[Markup]:
    """Return cells with scores above their difference from the last epoch's."""
    for name in COLUMNS[:3]:
        raised = row.get("difference", {}).get(name)
        parts = [number(row[name])]
        if raised is not None:
            parts.append(html.tag("small", f"{raised:+.3f}", class_="under"))
        yield html.join(parts)
