"""The sources of clips, by the name that `config.data.dataset` carries."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from data_prep.common import check
from data_prep.common.errors import UserError
from data_prep.datasets.base.source import Source
from data_prep.datasets.casme2.reader import Casme2
from data_prep.datasets.casme3.reader import Casme3
from data_prep.datasets.composite.reader import Composite
from data_prep.datasets.folder.reader import Folder
from data_prep.datasets.megc2019.reader import Megc2019
from data_prep.datasets.mmew.reader import Mmew
from data_prep.datasets.samm.reader import Samm
from data_prep.datasets.smic.reader import Smic
from data_prep.synthetic.clips import SyntheticSource

SOURCES: Mapping[str, Any] = MappingProxyType(
    {
        "synthetic": SyntheticSource,
        "smic": Smic,
        "samm": Samm,
        "casme2": Casme2,
        "casme3": Casme3,
        "mmew": Mmew,
        "composite": Composite,
        "megc2019": Megc2019,
        "folder": Folder,
    }
)


def class_names(config: Any) -> tuple[str, ...]:
    """The classes of the data set that a configuration names, found without reading a clip.

    Raises:
      UserError: there is no such data set, or it has no such classes.
    """
    return _reader(config.data.dataset).classes_of(config)


def source(config: Any) -> Source:
    """Make the source that `config.data.dataset` names.

    Raises:
      UserError: for an unknown name, or when the database's folder is not set or not complete.
    """
    return _reader(config.data.dataset).from_config(config)


def part_configs(config: Any) -> list[Any]:
    """A configuration for each source that the configured one is made of; mostly its own alone."""
    reader = _reader(config.data.dataset)
    return reader.parts_of(config) if hasattr(reader, "parts_of") else [config]


def _reader(name: str) -> Any:
    if name not in SOURCES:
        raise UserError(check.unknown_message("value of config.data.dataset", str(name), SOURCES))
    return SOURCES[name]
