"""Sentences that several reports share: protocols, counts, scores, warnings."""

from __future__ import annotations

from collections.abc import Mapping

UPPER_BOUND = "upper bound: uses the label"
NOT_RECORDED = "not recorded"
SAME_SCORES = "Macro F1 is UF1, and micro F1 is accuracy."
SYNTHETIC = "Accuracy on synthetic clips says nothing about SMIC, SAMM or CASME II."
WARNING = (
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
_MAX_FOLDS_NAMED = 5  # failed folds in a sentence; the page lists all


def protocol(config: Mapping, folds: int) -> str:
    """Describe the evaluation protocol in one sentence."""
    evaluation = config["evaluation"]
    sentence = _PROTOCOLS[evaluation["protocol"]]
    return sentence.format(folds=pluralize(folds, "fold"), held_out=evaluation.get("held_out"))


def counts(scores: Mapping) -> str:
    """Summarise how much was tested: clips, subjects, folds and seeds."""
    seeds = scores["seeds"]
    parts = [pluralize(scores[f"{name}s"], name) for name in ("clip", "subject", "fold")]
    return ", ".join([*parts, f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"])


def failure_warning(scores: Mapping) -> str:
    """Return a warning that names the failed folds, or '' if none failed."""
    rows = scores["failed"]
    if not rows:
        return ""
    named = "; ".join(
        f"fold {row['fold']}, seed {row['seed']} ({pluralize(row['clips'], 'clip')})"
        for row in rows[:_MAX_FOLDS_NAMED]
    )
    more = f"; and {len(rows) - _MAX_FOLDS_NAMED} more" if len(rows) > _MAX_FOLDS_NAMED else ""
    return (
        f"FAILED: {len(rows)} of {pluralize(scores['trainings'], 'training')} diverged: "
        f"{named}{more}. These clips have no answer ({sum(row['clips'] for row in rows)} in all): "
        "every score here is of the others alone, and is not a result on the whole set."
    )


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun: '1 fold', '5 folds'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def signed(value: float | None) -> str:
    """Format a difference with its sign; '-' if there is none."""
    return "-" if value is None else f"{value:+.3f}"


def short_number(value: float | None) -> str:
    """Format a score for a narrow column; '-' if there is none."""
    return "-" if value is None else number(value)


def number(value: float | None) -> str:
    """Format a score; 'undefined' if there is none."""
    return "undefined" if value is None else f"{value:.3f}"
