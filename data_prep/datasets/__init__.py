"""The sources of clips, by the name that `config.data.dataset` carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from data_prep import check
from data_prep.datasets.base import Source
from data_prep.errors import UserError


def _synthetic(config: Any) -> Source:
    from data_prep.synthetic import SyntheticSource

    return SyntheticSource(config.synthetic)


def _smic(config: Any) -> Source:
    from data_prep.datasets.smic.reader import Smic

    return Smic(config.data.manual_dir)


def _samm(config: Any) -> Source:
    from data_prep.datasets.samm.reader import Samm

    return Samm(config.data.manual_dir)


def _casme2(config: Any) -> Source:
    from data_prep.datasets.casme2.reader import Casme2

    return Casme2(config.data.manual_dir)


def class_names(name: str) -> tuple[str, ...]:
    """The classes of a data set, which are known before any clip is there.

    Raises:
      UserError: there is no such data set.
    """
    from data_prep.datasets.casme2.reader import Casme2
    from data_prep.datasets.samm.reader import Samm
    from data_prep.datasets.smic.reader import Smic
    from data_prep.synthetic import SyntheticSource

    readers = {"synthetic": SyntheticSource, "smic": Smic, "samm": Samm, "casme2": Casme2}
    if name not in readers:
        raise UserError(check.unknown("value of config.data.dataset", name, readers))
    return readers[name].class_names


# Each imports its reader when it is asked for: the synthetic clips need no spreadsheet library.
SOURCES: Mapping[str, Callable[[Any], Source]] = MappingProxyType(
    {"synthetic": _synthetic, "smic": _smic, "samm": _samm, "casme2": _casme2}
)


def source(config: Any) -> Source:
    """Make the source that `config.data.dataset` names.

    Raises:
      UserError: for an unknown name, or when the database's folder is not set or not complete.
    """
    name = config.data.dataset
    if name not in SOURCES:
        raise UserError(check.unknown("value of config.data.dataset", str(name), SOURCES))
    return SOURCES[name](config)
