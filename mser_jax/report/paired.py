"""A paired comparison as rows of a terminal table, of a page and of a CSV file."""

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
    """Yield a method's scores for the terminal, then their deviation over the seeds."""
    yield wording.text_row(name, [wording.short_number(row[score]) for score in metrics.HEADLINE])
    if spread := row["seed_std"]:
        deviations = [wording.short_number(spread[score]) for score in metrics.HEADLINE]
        yield wording.text_row("  deviation over seeds", deviations)


def score_cells(row: Mapping) -> list[object]:
    """Return a method's scores as table cells under the titles `SCORES`."""
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
    """Yield a comparison for the terminal: one line, then the bounds of its interval."""
    differences = [format_signed(row["difference"][score]) for score in metrics.HEADLINE]
    yield wording.text_row(name, differences + changes(row))
    bounds = [row["interval"][score] for score in metrics.HEADLINE]
    for end, title in enumerate(("  95 % from", "  95 % to")):
        yield wording.text_row(title, [format_signed(pair[end]) if pair else "" for pair in bounds])


def cells(row: Mapping, limit: float) -> list[object]:
    """Return a comparison as table cells under the titles `TITLES`.

    Args:
      row: The comparison.
      limit: Bound of the strip's scale, which goes from -limit to limit with a tick at 0.
    """
    accuracy, uf1, uar = (difference_cell(row, name) for name in metrics.HEADLINE)
    return [html.join([accuracy, _strip(row, limit)]), uf1, uar, *changes(row)]


def common_limit(rows: Sequence[Mapping]) -> float:
    """Return one bound for the scale of all rows."""
    return max(abs(end) for row in rows for end in row["interval"]["accuracy"]) or 1.0


def changes(row: Mapping) -> list[str]:
    """Return gained, lost and p as text; '' for a missing value."""
    counts = ["" if row[name] is None else str(row[name]) for name in ("gained", "lost")]
    return [*counts, "" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.3f}"]


def csv_cells(row: Mapping, name: str) -> dict[str, object]:
    """Return the difference in one score and its interval as CSV cells."""
    low, high = row["interval"][name] or ("", "")
    return {
        f"{name}_difference": row["difference"][name],
        f"{name}_low": low,
        f"{name}_high": high,
    }


def rerun_section(events: list[dict]) -> Markup:
    """Return a section with the command of several runs, its versions and its devices."""
    start = history.start_event(events)
    command = start.get("command")
    rows = [("date", start.get("date", wording.NOT_RECORDED)), *start.get("versions", {}).items()]
    rows.append(("devices", ", ".join(start.get("devices", [wording.NOT_RECORDED]))))
    command_text = (
        html.command(command)
        if command
        else html.tag("p", f"The command was {wording.NOT_RECORDED}.")
    )
    return html.section("How to run it again", command_text, html.definition_list(rows))


def format_signed(value: float | None) -> str:
    """Format a difference with its sign; '-' if there is none."""
    return "-" if value is None else f"{value:+.3f}"


def difference_cell(row: Mapping, name: str) -> Markup:
    """Return a cell with the difference in one score above its interval."""
    interval = row["interval"][name]
    interval_text = (
        f"{format_signed(interval[0])} to {format_signed(interval[1])}"
        if interval
        else "no interval"
    )
    return html.join(
        [format_signed(row["difference"][name]), html.tag("small", interval_text, class_="under")]
    )


def _strip(row: Mapping, limit: float) -> Markup:
    low, high = ((end / limit + 1) / 2 for end in row["interval"]["accuracy"])
    return html.interval_strip((row["difference"]["accuracy"] / limit + 1) / 2, (low, high), 0.5)
