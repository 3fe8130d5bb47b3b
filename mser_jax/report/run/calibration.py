"""The section of a run's page on confidence, before and after calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mser_jax.evaluate import calibration
from mser_jax.report import html, plots
from mser_jax.report.html import Markup
from mser_jax.report.wording import number, pluralize

_MEANING = (
    "The confidence of an answer is the probability that the model gives it. It means what it says "
    "when, of answers that are given with 80%, about 80% are right."
)
_LIMITS = (
    "This was fitted on the held-out clips of this data set, and holds for clips like them. It "
    "does not hold for another camera or other light, for other people than such as were filmed, "
    "nor from posed or synthetic expressions to spontaneous ones. A high confidence does not say "
    "that a face shows one of these classes at all."
)


def confidence(scores: Mapping) -> Markup:
    """Show how confident the answers are and how often they are right.

    Args:
      scores: Scores as returned by `scoring.score`.
    """
    fitted = scores["calibration"]
    if fitted is None:
        content = f"The rule {scores['rule']} has no confidence of its own: it reads the label."
        return html.section("Confidence", html.tag("p", content))
    before, after = fitted["before"], fitted["after"]
    diagram = plots.png(plots.reliability(before, after))
    content = [
        html.tag("p", _MEANING),
        html.tag("p", " ".join(_findings(before, scores))),
        html.table(["", "NLL", "Brier", "ECE"], _table_rows(fitted)),
        html.tag("p", " ".join(_method(fitted)), class_="small"),
    ]
    return html.section(
        "Confidence",
        html.tag(
            "div",
            html.image(diagram, "Share of right answers by confidence, before and after"),
            html.tag("div", *content),
            class_="figures",
        ),
        html.tag("p", _LIMITS, class_="note"),
        html.tag("p", " ".join(_terms(before)), class_="small"),
    )


def _findings(before: Mapping, scores: Mapping) -> Iterator[str]:
    sure, right = before["confidence"], scores["accuracy"]
    yield f"Here the mean confidence is {sure:.0%}, and {right:.0%} of the answers are right."
    if abs(sure - right) > before["ece"] / 2:  # else some are too sure, and others not sure enough
        yield f"On the whole that is {'too sure' if sure > right else 'not sure enough'}."


def _table_rows(fit_result: Mapping) -> Iterator[list[object]]:
    rows = {"as answered": fit_result["before"], "calibrated": fit_result["after"]}
    for name, row in rows.items():
        if row is not None:
            yield [name, *(number(row[column]) for column in ("nll", "brier", "ece"))]


def _method(fit_result: Mapping) -> Iterator[str]:
    value = fit_result["temperature"]
    effect = "less sure" if value > 1 else "surer"
    yield (
        f"Temperature {value:.3g}: a probability p becomes p^(1/{value:.3g}), normalised (Guo et "
        f"al. 2017), which makes the answers {effect} and changes none of them."
    )
    if any(value > 0.98 * end and value < 1.02 * end for end in calibration.TEMPERATURE_RANGE):
        yield "It is at the end of the range that is searched."
    if fit_result["cross_fitted"] is None:
        yield "With a single subject there is nobody to try it on."
        return
    low, high = fit_result["cross_fitted"]
    yield (
        "The row 'calibrated' is cross-fitted: the clips of each subject are scaled by the "
        f"temperature that the other subjects give ({low:.3g} to {high:.3g}), so that no clip is "
        "scored by what was fitted on it."
    )


def _terms(before: Mapping) -> Iterator[str]:
    yield (
        "Less is better of all three. NLL: the mean negative log-likelihood of the true class. "
        "Brier: the mean squared distance from certainty of the true class, summed over the "
        "classes, 0 to 2. ECE: by how much confidence and accuracy differ in a bin, on average; of "
        f"{pluralize(len(before['bins']), 'bin')} with about as many answers in each, by their "
        "confidence as answered; the same bins for both rows."
    )
    yield (
        "Bars in the picture: 95 % intervals (Wilson) of a bin's accuracy, as if its clips were "
        "independent, which those of one person are not. No other figure of this page is of "
        "calibrated probabilities."
    )
