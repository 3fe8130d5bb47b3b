"""Checks of a configuration's fields: a refusal names the field, its value, what it may be."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from data_prep.common.errors import UserError


def unknown_message(kind: str, name: str, valid: Iterable[str]) -> str:
    """The message for a name that is not among those known, with the nearest one."""
    valid = tuple(valid)
    near = difflib.get_close_matches(name, valid, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{hint} One of: {', '.join(valid)}."


def one_of(config: Any, table: Mapping[str, Sequence[str]]) -> None:
    """Refuse a field (`'prep.flow.reference'`) whose value is not among those in the table."""
    for field, known in table.items():
        value = get(config, field)
        if value not in known:
            raise UserError(unknown_message(f"value of config.{field}", str(value), known))


def subset(config: Any, table: Mapping[str, Sequence[str]]) -> None:
    """Refuse a field that is empty or holds a name that is not in the table."""
    for field, known in table.items():
        values = get(config, field)
        if not values or isinstance(values, str):
            raise UserError(f"config.{field} is {values!r}; it may hold: {', '.join(known)}.")
        for value in values:
            if value not in known:
                raise UserError(unknown_message(f"entry of config.{field}", str(value), known))


def at_least(config: Any, table: Mapping[str, float]) -> None:
    """Refuse a field that is less than the table says, or not finite."""
    for field, smallest in table.items():
        value = get(config, field)
        if not (value >= smallest and math.isfinite(value)):
            raise UserError(f"config.{field} is {value}; it must be at least {smallest}.")


def positive(config: Any, fields: Iterable[str]) -> None:
    """Refuse a field that is not greater than 0, or not finite."""
    for field in fields:
        value = get(config, field)
        if not (value > 0 and math.isfinite(value)):
            raise UserError(f"config.{field} is {value}; it must be greater than 0.")


def pairs(config: Any, fields: Iterable[str]) -> None:
    """Refuse a field that is not (lowest, highest), two numbers in this order, none negative."""
    for field in fields:
        value = get(config, field)
        good = (
            isinstance(value, Sequence)
            and len(value) == 2
            and all(isinstance(end, Real) for end in value)
            and 0 <= value[0] <= value[1] < math.inf
        )
        if not good:
            raise UserError(
                f"config.{field} is {value}; it must be two numbers, the lowest and the highest: "
                f"--config.{field}='(1.0, 3.0)'."
            )


def get(config: Any, field: str) -> Any:
    """The value of a field that is written with dots."""
    for part in field.split("."):
        config = config[part]
    return config
