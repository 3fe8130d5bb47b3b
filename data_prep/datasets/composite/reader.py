"""The composite of MEGC 2019: SMIC, CASME II and SAMM as one data set with three classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.datasets.base.about import database_info
from data_prep.datasets.base.database import Database
from data_prep.datasets.base.rows import FolderEntry
from data_prep.datasets.base.source import Listing
from data_prep.datasets.casme2.reader import Casme2
from data_prep.datasets.samm.reader import Samm
from data_prep.datasets.smic.reader import Smic

READERS: Mapping[str, type[Database]] = MappingProxyType(
    {reader.name: reader for reader in (Smic, Casme2, Samm)}
)

_LOCATION_REMEDY = """\
The composite takes all of its databases from one folder, or each from its own:

  --config.data.manual_dir=/path/to/a/folder/of/all
  --config.data.parts.smic=/path/to/SMIC (casme2, samm)"""


class Composite:
    """Several databases as one; each clip keeps the name of its own.

    Attributes:
      name: of the data set.
      class_names: that the databases have in common.
      listing: what the last `entries()` found, in all of them.
    """

    name = "composite"

    def __init__(self, parts: Sequence[Database], class_names: tuple[str, ...]):
        """Join databases that have the same classes."""
        self._parts = {part.name: part for part in parts}
        self.class_names = class_names
        self.listing = Listing()

    @classmethod
    def from_config(cls, config: Any) -> Composite:
        """The databases that the section `data` of a configuration describes.

        Raises:
          UserError: for all of them at once, what is not there.
        """
        class_names = cls.classes_of(config)
        parts = cls.parts_of(config)
        return cls(
            _map_parts(parts, lambda part: READERS[part.data.dataset].from_config(part)),
            class_names,
        )

    @classmethod
    def parts_of(cls, config: Any) -> list[Any]:
        """A configuration for each of the databases.

        Raises:
          UserError: a sheet is named, which not all of them can have.
        """
        if config.data.sheet:
            raise UserError(
                f"config.data.sheet is {config.data.sheet!r}, but the composite reads several. "
                "Fix: leave it out, and keep the other sheets elsewhere."
            )
        return [_part_config(config, name) for name in READERS]

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """The classes that a configuration asks for, in the order of their indices.

        Raises:
          UserError: the databases do not have the same ones.
        """
        chosen = config.data.classes
        names = {name: tuple(database_info(name).emotions(chosen)) for name in READERS}
        if len(set(names.values())) > 1:
            told = "; ".join(f"{name}: {', '.join(each)}" for name, each in names.items())
            raise UserError(
                f"Under config.data.classes {chosen!r} the databases have different classes "
                f"({told}). Fix: --config.data.classes=megc2019."
            )
        return next(iter(names.values()))

    def entries(self) -> list[FolderEntry]:
        """List the clips of all databases, one after the other.

        Raises:
          UserError: for all of them at once, what is missing.
        """
        listed = _map_parts(self._parts.values(), lambda part: part.entries())
        self.listing = _join_listings({name: part.listing for name, part in self._parts.items()})
        return [entry for entries in listed for entry in entries]

    def load(self, entry: FolderEntry) -> Clip:
        """Find a clip's frames, in its own database."""
        return self._parts[entry.dataset].load(entry)


def _part_config(config: Any, name: str) -> Any:
    """The configuration of one of the databases alone."""
    part = config.copy_and_resolve_references()
    part.data.dataset = name
    own = config.data.get("parts") or {}  # which a configuration of another data set lacks
    part.data.manual_dir = own.get(name) or config.data.manual_dir
    return part


def _map_parts(parts: Iterable[Any], make: Callable[[Any], Any]) -> list[Any]:
    """Make something of each part; when parts lack something, say it of all of them."""
    made, lacking = [], []
    for part in parts:
        try:
            made.append(make(part))
        except UserError as error:
            lacking.append(str(error))
    if lacking:
        raise UserError("\n\n\n".join([*lacking, _LOCATION_REMEDY]))
    return made


def _join_listings(listings: Mapping[str, Listing]) -> Listing:
    """What was found in all, under the databases' names."""

    def gathered(field: str) -> dict[str, Any]:
        return {
            f"{name}/{key}": value
            for name, each in listings.items()
            for key, value in getattr(each, field).items()
        }

    sources = dict.fromkeys(each.source for each in listings.values() if each.source)
    return Listing(
        repairs=tuple(repair for each in listings.values() for repair in each.repairs),
        facts=gathered("facts"),
        clips=gathered("clips"),
        stated=gathered("stated"),
        source=", ".join(sources),
    )
