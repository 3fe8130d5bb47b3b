"""Nested settings as one level of names: `{'train': {'epochs': 3}}` is `{'train.epochs': 3}`."""

import json
from collections.abc import Mapping
from typing import Any


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested mapping, in its order, by their names with dots."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        inner = isinstance(value, Mapping)
        leaves |= flatten(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return leaves


def json_roundtrip(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree as JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(tree))


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, value in the first, in the second) of the leaves that differ; 'absent' for none."""
    one, other = flatten(json_roundtrip(first)), flatten(json_roundtrip(second))
    absent = "absent"
    return [
        (name, one.get(name, absent), other.get(name, absent))
        for name in sorted({*one, *other})
        if one.get(name, absent) != other.get(name, absent)
    ]
