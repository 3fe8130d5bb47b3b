"""The sources of clips, by their name in `config.data.dataset`."""

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
    """Return the class names of the configured data set, without reading a clip.

    Raises:
      UserError: The data set is unknown, or it has no such map of classes.
    """
    return _reader(config.data.dataset).classes_of(config)


def source(config: Any) -> Source:
    """Create the source that `config.data.dataset` names.

    Raises:
      UserError: The name is unknown, or the database's folder is not set or incomplete.
    """
    return _reader(config.data.dataset).from_config(config)


def part_configs(config: Any) -> list[Any]:
    """Return one configuration for each part of the source; most sources are one part."""
    reader = _reader(config.data.dataset)
    return reader.parts_of(config) if hasattr(reader, "parts_of") else [config]


def _reader(name: str) -> Any:
    if name not in SOURCES:
        raise UserError(check.unknown_message("value of config.data.dataset", str(name), SOURCES))
    return SOURCES[name]
