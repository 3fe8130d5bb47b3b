"""Nested settings as a flat mapping: `{'train': {'epochs': 3}}` becomes `{'train.epochs': 3}`."""

import json
from collections.abc import Mapping
from typing import Any


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a nested mapping by dotted name, in the mapping's order."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        inner = isinstance(value, Mapping)
        leaves |= flatten(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return leaves


def json_roundtrip(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree as JSON decodes it: tuples become lists."""
    return json.loads(json.dumps(tree))


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """List the leaves that differ between two nested mappings.

    Returns:
      (dotted name, first value, second value) per leaf, sorted by name. A missing value is
      'absent'.
    """
    first_leaves, second_leaves = flatten(json_roundtrip(first)), flatten(json_roundtrip(second))
    absent = "absent"
    return [
        (name, first_leaves.get(name, absent), second_leaves.get(name, absent))
        for name in sorted({*first_leaves, *second_leaves})
        if first_leaves.get(name, absent) != second_leaves.get(name, absent)
    ]
