"""The models of a set side by side: their scores, and how far each is from the best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from mser_jax.evaluate import ensemble, failures, metrics, scoring, selection
from mser_jax.evaluate.compare import paired
from mser_jax.evaluate.predictions import Predictions

ALL_DATASETS = "all"  # in place of a database
_COPIED_KEYS = ("clips", "subjects", "folds", "seeds", "seed_std")


def results(tables: Mapping[str, Predictions], rule: str) -> dict[str, Any]:
    """Everything that suite.json says of the models that have run.

    Args:
      tables: the predictions of each, by the model's name. One of which a fold failed has no score.
      rule: of `selection.RULES`, which answers for every model.

    Returns:
      rule; upper_bound: it uses the label, and nothing here is a result;
      best: the model with the highest UF1, a mean over its seeds;
      models: for each model in the order of `tables` its name and, unless `failed` lists a
        training, `scores`: for 'all' and each database accuracy, uf1, uar and their interval;
      `as_one`: the same scores of its seeds together (`ensemble.of_seeds`; None of one seed);
      `to_best`: its scores less those of the best, as `paired_difference` has them (None of the
        best itself).

    Raises:
      UserError: a table lacks a class, two are not of the same clips and folds, or no such rule.
    """
    for name, other in itertools.pairwise(tables):
        paired.check_same_clips(name, tables[name], other, tables[other])
    whole = {name: table for name, table in tables.items() if not table.failed.any()}
    scored = {name: scoring.score(table, rule) for name, table in whole.items()}
    best = max(scored, key=lambda name: scored[name]["uf1"], default=None)
    return {
        "rule": rule,
        "upper_bound": rule == selection.UPPER_BOUND,
        "best": best,
        "models": [
            _row(name, scored[name], whole, best, rule)
            if name in scored
            else {"model": name, "failed": failures.failed_trainings(table)}
            for name, table in tables.items()
        ],
    }


def _row(
    name: str, scores: Mapping, tables: Mapping[str, Predictions], best: str | None, rule: str
) -> dict[str, Any]:
    own, to_best, as_one = tables[name], None, None
    if best is not None and name != best:
        to_best = paired.paired_difference(tables[best], own, (rule, rule))
    if len(scores["seeds"]) > 1:
        as_one = _scores(scoring.score(ensemble.average_seeds(own, rule), rule))
    return {
        "model": name,
        "failed": [],
        **{key: scores[key] for key in _COPIED_KEYS},
        "scores": _scores(scores),
        "as_one": as_one,
        "to_best": to_best,
    }


def _scores(scores: Mapping) -> dict[str, dict[str, Any]]:
    """Of all clips, and of each database."""
    rows = {ALL_DATASETS: scores} | {row["dataset"]: row for row in scores["per_dataset"]}
    return {
        name: {score: row[score] for score in metrics.HEADLINE} | {"interval": row["interval"]}
        for name, row in rows.items()
    }
