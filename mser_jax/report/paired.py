"""A paired comparison in a table for the terminal, on a page, in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mser_jax.evaluate import metrics
from mser_jax.report import html, wording
from mser_jax.report.html import Markup
from mser_jax.storage import history

SCORES = ("accuracy", "UF1", "UAR")
TITLES = (*SCORES, "gained", "lost", "p")
READ = (
    "Differences: {second}'s score less {first}'s, so that above 0 speaks for {gain}; "
    "95\u00a0% intervals of the difference: bootstrap over subjects, the same resamples for both. "
    "Gained, lost: clips that only {second}, or only {first}, gets right; p: McNemar's exact "
    "test, which takes clips for independent. Those of one subject are not, so that p tends to be "
    "too small; the intervals allow for it."
)

SEVERAL_SEEDS = (
    "With several seeds p is not given, scores and differences are means, and gained and lost are "
    "of all seeds in their order; of unequal numbers of seeds there are none."
)


def score_lines(name: str, row: Mapping) -> Iterable[str]:
    """A method's own scores for a terminal; of several seeds their deviation below."""
    yield wording.text_row(name, [wording.short_number(row[score]) for score in metrics.HEADLINE])
    if spread := row["seed_std"]:
        deviations = [wording.short_number(spread[score]) for score in metrics.HEADLINE]
        yield wording.text_row("  deviation over seeds", deviations)


def score_cells(row: Mapping) -> list[object]:
    """A method's own scores as cells, under `SCORES`."""
    scores = [wording.number(row[name]) for name in metrics.HEADLINE]
    spread = row["seed_std"]
    if not spread:
        return list(scores)
    return [
        html.join(
            [score, html.tag("small", f"± {wording.short_number(spread[name])}", class_="under")]
        )
        for score, name in zip(scores, metrics.HEADLINE)
    ]


def text_lines(name: str, row: Mapping) -> Iterable[str]:
    """A comparison for a terminal: its line, and its interval."""
    differences = [format_signed(row["difference"][score]) for score in metrics.HEADLINE]
    yield wording.text_row(name, differences + changes(row))
    bounds = [row["interval"][score] for score in metrics.HEADLINE]
    for end, title in enumerate(("  95 % from", "  95 % to")):
        yield wording.text_row(title, [format_signed(pair[end]) if pair else "" for pair in bounds])


def cells(row: Mapping, limit: float) -> list[object]:
    """A comparison as cells of a page's table, under `TITLES`.

    Args:
      row: the comparison.
      limit: of the strip's scale, which goes from -limit to limit with a tick at 0.
    """
    accuracy, uf1, uar = (difference_cell(row, name) for name in metrics.HEADLINE)
    return [html.join([accuracy, _strip(row, limit)]), uf1, uar, *changes(row)]


def common_limit(rows: Sequence[Mapping]) -> float:
    """The scale that all rows share."""
    return max(abs(end) for row in rows for end in row["interval"]["accuracy"]) or 1.0


def changes(row: Mapping) -> list[str]:
    """Gained, lost and p; empty where there is none."""
    counts = ["" if row[name] is None else str(row[name]) for name in ("gained", "lost")]
    return [*counts, "" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.3f}"]


def csv_cells(row: Mapping, name: str) -> dict[str, object]:
    """The difference in one score as plain cells, with its interval."""
    low, high = row["interval"][name] or ("", "")
    return {
        f"{name}_difference": row["difference"][name],
        f"{name}_low": low,
        f"{name}_high": high,
    }


def rerun_section(events: list[dict]) -> Markup:
    """The command of several runs, and what it ran with."""
    start = history.start_event(events)
    command = start.get("command")
    rows = [("date", start.get("date", wording.NOT_RECORDED)), *start.get("versions", {}).items()]
    rows.append(("devices", ", ".join(start.get("devices", [wording.NOT_RECORDED]))))
    told = (
        html.command(command)
        if command
        else html.tag("p", f"The command was {wording.NOT_RECORDED}.")
    )
    return html.section("How to run it again", told, html.definition_list(rows))


def format_signed(value: float | None) -> str:
    """A difference, or that there is none."""
    return "-" if value is None else f"{value:+.3f}"


def difference_cell(row: Mapping, name: str) -> Markup:
    """The difference in one score, and below it the interval."""
    interval = row["interval"][name]
    told = (
        f"{format_signed(interval[0])} to {format_signed(interval[1])}"
        if interval
        else "no interval"
    )
    return html.join(
        [format_signed(row["difference"][name]), html.tag("small", told, class_="under")]
    )


def _strip(row: Mapping, limit: float) -> Markup:
    low, high = ((end / limit + 1) / 2 for end in row["interval"]["accuracy"])
    return html.interval_strip((row["difference"]["accuracy"] / limit + 1) / 2, (low, high), 0.5)
