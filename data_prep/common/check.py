"""Checks of configuration fields. An error gives the field, its value, and what is allowed."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from data_prep.common.errors import UserError


def unknown_message(kind: str, name: str, valid: Iterable[str]) -> str:
    """Return the message for an unknown name, with the valid name nearest to it.

    Args:
      kind: What the name stands for, such as 'preset'.
      name: The unknown name.
      valid: All valid names.
    """
    valid = tuple(valid)
    matches = difflib.get_close_matches(name, valid, n=1)
    hint = f" Did you mean {matches[0]!r}?" if matches else ""
    return f"unknown {kind} {name!r}.{hint} One of: {', '.join(valid)}."


def one_of(config: Any, table: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError if a field's value is not an allowed value.

    Args:
      config: The configuration.
      table: Field with dots (`'prep.flow.reference'`) -> allowed values.
    """
    for field, choices in table.items():
        value = get(config, field)
        if value not in choices:
            raise UserError(unknown_message(f"value of config.{field}", str(value), choices))


def subset(config: Any, table: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError if a list field is empty or holds a name that is not allowed.

    Args:
      config: The configuration.
      table: Field with dots -> allowed entries.
    """
    for field, choices in table.items():
        values = get(config, field)
        if not values or isinstance(values, str):
            raise UserError(
                f"config.{field} is {values!r}; the allowed entries are {', '.join(choices)}."
            )
        for value in values:
            if value not in choices:
                raise UserError(unknown_message(f"entry of config.{field}", str(value), choices))


def at_least(config: Any, table: Mapping[str, float]) -> None:
    """Raise UserError if a field is below its minimum or not finite.

    Args:
      config: The configuration.
      table: Field with dots -> minimum.
    """
    for field, minimum in table.items():
        value = get(config, field)
        if not (value >= minimum and math.isfinite(value)):
            raise UserError(f"config.{field} is {value}; it must be at least {minimum}.")


def positive(config: Any, fields: Iterable[str]) -> None:
    """Raise UserError if a field is not greater than 0, or not finite."""
    for field in fields:
        value = get(config, field)
        if not (value > 0 and math.isfinite(value)):
            raise UserError(f"config.{field} is {value}; it must be greater than 0.")


def pairs(config: Any, fields: Iterable[str]) -> None:
    """Raise UserError if a field is not a pair (lowest, highest) of numbers.

    Both must be finite, at least 0, and in this order.
    """
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
    """Return the value of a field written with dots."""
    for part in field.split("."):
        config = config[part]
    return config
