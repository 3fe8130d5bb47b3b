"""Comparison of the models of a set: their scores, and the difference of each from the best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from mser_jax.evaluate import ensemble, failures, metrics, scoring, selection
from mser_jax.evaluate.compare import paired
from mser_jax.evaluate.predictions import Predictions

ALL_DATASETS = "all"  # stands for a database's name
_COPIED_KEYS = ("clips", "subjects", "folds", "seeds", "seed_std")


def results(tables: Mapping[str, Predictions], rule: str) -> dict[str, Any]:
    """Compute what suite.json holds about the finished models.

    Args:
      tables: Predictions of each model, by its name. A model with a failed fold gets no score.
      rule: One of `selection.RULES`, applied to every model.

    Returns:
      rule; upper_bound: True if the rule reads the labels, so that nothing here is a result;
      best: the model with the highest UF1, a mean over its seeds;
      models: for each model in the order of `tables` its name and `failed`, its failed trainings.
        A model without any also has
        `scores`: accuracy, uf1, uar and their interval for 'all' and for each database;
        `as_one`: the same scores of the ensemble of its seeds (`ensemble.average_seeds`; None for a
          single seed);
        `to_best`: its scores less those of the best, as from `paired_difference` (None for the best
          itself).

    Raises:
      UserError: A table lacks a class, two tables differ in their clips or folds, or the rule does
        not exist.
    """
    for name, next_name in itertools.pairwise(tables):
        paired.check_same_clips(name, tables[name], next_name, tables[next_name])
    complete = {name: table for name, table in tables.items() if not table.failed.any()}
    scored = {name: scoring.score(table, rule) for name, table in complete.items()}
    best = max(scored, key=lambda name: scored[name]["uf1"], default=None)
    return {
        "rule": rule,
        "upper_bound": rule == selection.UPPER_BOUND,
        "best": best,
        "models": [
            _row(name, scored[name], complete, best, rule)
            if name in scored
            else {"model": name, "failed": failures.failed_trainings(table)}
            for name, table in tables.items()
        ],
    }


def _row(
    name: str, scores: Mapping, tables: Mapping[str, Predictions], best: str | None, rule: str
) -> dict[str, Any]:
    table, to_best, as_one = tables[name], None, None
    if best is not None and name != best:
        to_best = paired.paired_difference(tables[best], table, (rule, rule))
    if len(scores["seeds"]) > 1:
        as_one = _scores(scoring.score(ensemble.average_seeds(table, rule), rule))
    return {
        "model": name,
        "failed": [],
        **{key: scores[key] for key in _COPIED_KEYS},
        "scores": _scores(scores),
        "as_one": as_one,
        "to_best": to_best,
    }


def _scores(scores: Mapping) -> dict[str, dict[str, Any]]:
    """Return the headline scores of all clips and of each database."""
    rows = {ALL_DATASETS: scores} | {row["dataset"]: row for row in scores["per_dataset"]}
    return {
        name: {score: row[score] for score in metrics.HEADLINE} | {"interval": row["interval"]}
        for name, row in rows.items()
    }
