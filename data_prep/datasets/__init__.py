"""The sources of clips, by the name that `config.data.dataset` carries."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from data_prep import check
from data_prep.datasets.base import Source
from data_prep.errors import UserError

# Module and class of each; imported when asked for: synthetic clips need no spreadsheet library.
SOURCES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "synthetic": ("data_prep.synthetic", "SyntheticSource"),
        "smic": ("data_prep.datasets.smic.reader", "Smic"),
        "samm": ("data_prep.datasets.samm.reader", "Samm"),
        "casme2": ("data_prep.datasets.casme2.reader", "Casme2"),
    }
)


def class_names(name: str) -> tuple[str, ...]:
    """The classes of a data set, which are known before any clip is there.

    Raises:
      UserError: there is no such data set.
    """
    return _reader(name).class_names


def source(config: Any) -> Source:
    """Make the source that `config.data.dataset` names.

    Raises:
      UserError: for an unknown name, or when the database's folder is not set or not complete.
    """
    name = config.data.dataset
    if name == "synthetic":
        return _reader(name)(config.synthetic)
    return _reader(name)(config.data.manual_dir, config.data.landmarks_dir)


def _reader(name: str) -> Any:
    if name not in SOURCES:
        raise UserError(check.unknown("value of config.data.dataset", str(name), SOURCES))
    module, reader = SOURCES[name]
    return getattr(importlib.import_module(module), reader)
