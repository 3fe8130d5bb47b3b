"""The ablation of figure 11: its members, their comparisons, and the results of both.

The paper adds its parts one after the other to the plain 3D-ResNet (4.3.3). This module has that
series, and a second one that leaves each part out of the complete network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mser_jax.evaluate import failures, metrics, scoring, selection
from mser_jax.evaluate.compare import paired, published
from mser_jax.evaluate.predictions import Predictions


class Part(NamedTuple):
    """A part of the network: the field that switches it, and its values with and without it."""

    field: str
    enabled_value: object
    disabled_value: object


class Comparison(NamedTuple):
    """Two members that differ in one part."""

    part: str
    without: str
    with_: str


PARTS = {
    "flow": Part("input.kind", "flow", "frames"),
    "attention": Part("model.attention", True, False),
    "rc": Part("model.rc.on", True, False),
    "fusion": Part("model.fusion.on", True, False),
}
# The parts of each member; `+fusion` has all of them and is the complete network.
MEMBERS = {
    "base": (),
    "+flow": ("flow",),
    "+attention": ("flow", "attention"),
    "+rc": ("flow", "attention", "rc"),
    "+fusion": ("flow", "attention", "rc", "fusion"),
    "no_flow": ("attention", "rc", "fusion"),
    "no_attention": ("flow", "rc", "fusion"),
    "no_rc": ("flow", "attention", "fusion"),
    "no_fusion": ("flow", "attention", "rc"),
}
ADDED = (
    Comparison("flow", "base", "+flow"),
    Comparison("attention", "+flow", "+attention"),
    Comparison("rc", "+attention", "+rc"),
    Comparison("fusion", "+rc", "+fusion"),
)
LEFT_OUT = tuple(Comparison(part, f"no_{part}", "+fusion") for part in PARTS)


def settings(member: str) -> dict[str, object]:
    """Return the fields of a member, by their dotted names."""
    return {
        part.field: part.enabled_value if name in MEMBERS[member] else part.disabled_value
        for name, part in PARTS.items()
    }


def canonical_member(member: str) -> str:
    """Return the first member whose network equals this member's network.

    For example, `no_fusion` is the same network as `+rc`. Both are one training.
    """
    return next(name for name, parts in MEMBERS.items() if parts == MEMBERS[member])


def available_comparisons(
    members: Sequence[str], comparisons: Sequence[Comparison]
) -> list[Comparison]:
    """Return the comparisons whose two members are both in `members`."""
    return [
        comparison
        for comparison in comparisons
        if {comparison.without, comparison.with_} <= {*members}
    ]


def results(tables: Mapping[str, Predictions], rule: str, dataset: str) -> dict[str, Any]:
    """Compute the content of ablation.json.

    Args:
      tables: Predictions of each member.
      rule: One of `selection.RULES`, applied to every member; with one head, all rules agree.
      dataset: Value of `config.data.dataset`; it selects the published gains.

    Returns:
      rule, upper_bound; members: one row each; added and left_out: one row of `paired.compare` for
      each comparison, with its part, and `published_points`: the paper's own gain in accuracy, or
      None.

    Raises:
      UserError: The members were not tested on the same clips, a fold of one of them failed, or a
        table cannot be scored.
    """
    for name, table in tables.items():
        failures.check_none_failed(name, table)
    gains = published.gains(dataset)
    return {
        "rule": rule,
        "upper_bound": rule == selection.UPPER_BOUND,
        "members": [_member_row(name, table, rule) for name, table in tables.items()],
        "added": [
            _comparison_row(tables, pair, rule) | {"published_points": gains.get(pair.part)}
            for pair in available_comparisons(list(tables), ADDED)
        ],
        "left_out": [
            _comparison_row(tables, pair, rule) | {"published_points": None}
            for pair in available_comparisons(list(tables), LEFT_OUT)
        ],
    }


def _comparison_row(
    tables: Mapping[str, Predictions], pair: Comparison, rule: str
) -> dict[str, Any]:
    return {"part": pair.part, **paired.compare(tables, pair.without, pair.with_, rule)}


def _member_row(name: str, table: Predictions, rule: str) -> dict[str, Any]:
    scores = scoring.score(table, rule)
    keys = (
        "clips",
        "subjects",
        "folds",
        "heads",
        "seeds",
        *metrics.HEADLINE,
        "interval",
        "seed_std",
    )
    return {
        "member": name,
        "parts": list(MEMBERS[name]),
        "folder": canonical_member(name),
        **{key: scores[key] for key in keys},
    }
