"""A paired comparison as rows of a terminal table and of a CSV file, and its sentences.

`templates/paired.html` shows the same rows on a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mser_jax.evaluate import metrics
from mser_jax.report import wording

SCORES = ("accuracy", "UF1", "UAR")
TITLES = (*SCORES, "gained", "lost", "p")
DIFFERENCES = (
    "Difference: the score of {second} minus that of {first}. A difference above 0 speaks for "
    "{gain}. Intervals: 95\u00a0% bootstrap of the difference over subjects, with the same "
    "resamples for both. Gained, lost: clips that only {second}, or only {first}, gets right. "
    "p: McNemar's exact test, which treats clips as independent. The clips of one subject are "
    "not, so p tends to be too small. The intervals allow for it."
)
LIMITS = (
    "The intervals are for other subjects, not for other seeds. Another training of the same "
    "{same} gives other scores too. With few subjects the intervals tend to be too narrow."
)
SEVERAL_SEEDS = (
    "With several seeds p is not given. Scores and differences are means over the seeds. Gained "
    "and lost count the clips of all seeds, paired in their order. They are not given if the "
    "numbers of seeds differ."
)


def score_rows(name: str, row: Mapping) -> Iterator[list[str]]:
    """Yield a method's scores for the terminal, then their deviation over the seeds."""
    yield [name, *(wording.short_number(row[score]) for score in metrics.HEADLINE)]
    if spread := row["seed_std"]:
        deviations = [wording.short_number(spread[score]) for score in metrics.HEADLINE]
        yield ["  deviation over seeds", *deviations]


def difference_rows(name: str, row: Mapping) -> Iterator[list[str]]:
    """Yield a comparison for the terminal: one row, then the ends of its intervals."""
    differences = [wording.signed(row["difference"][score]) for score in metrics.HEADLINE]
    counts = ["" if row[key] is None else str(row[key]) for key in ("gained", "lost")]
    p = "" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.3f}"
    yield [name, *differences, *counts, p]
    bounds = [row["interval"][score] for score in metrics.HEADLINE]
    for end, title in enumerate(("  95 % from", "  95 % to")):
        yield [title, *(wording.signed(pair[end]) if pair else "" for pair in bounds)]


def common_limit(rows: Sequence[Mapping]) -> float:
    """Return one bound for the scale of all rows."""
    return max(abs(end) for row in rows for end in row["interval"]["accuracy"]) or 1.0


def csv_cells(row: Mapping, name: str) -> dict[str, object]:
    """Return the difference in one score and its interval as CSV cells."""
    low, high = row["interval"][name] or ("", "")
    return {
        f"{name}_difference": row["difference"][name],
        f"{name}_low": low,
        f"{name}_high": high,
    }
