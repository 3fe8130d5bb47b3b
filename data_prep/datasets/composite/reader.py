"""The composite of MEGC 2019: SMIC, CASME II and SAMM as one data set with three classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from data_prep.class_map import ClassMapError
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
Fix: keep all databases of the composite in one folder, or set a folder for each:

  --config.data.manual_dir=/path/to/a/folder/of/all
  --config.data.parts.smic=/path/to/SMIC (casme2, samm)"""


class Composite:
    """Several databases as one data set; each clip keeps the name of its own database.

    Attributes:
      name: Name of the data set.
      class_names: Classes that the databases have in common.
      listing: Result of the last `entries()`, over all databases.
    """

    name = "composite"

    def __init__(self, parts: Sequence[Database], class_names: tuple[str, ...]):
        """Join databases that have the same classes."""
        self._parts = {part.name: part for part in parts}
        self.class_names = class_names
        self.listing = Listing()

    @classmethod
    def from_config(cls, config: Any) -> Composite:
        """Create the databases from the section `data` of a configuration.

        Raises:
          UserError: Files are missing; the message covers all databases.
        """
        class_names = cls.classes_of(config)
        parts = cls.parts_of(config)
        return cls(
            _map_parts(parts, lambda part: READERS[part.data.dataset].from_config(part)),
            class_names,
        )

    @classmethod
    def parts_of(cls, config: Any) -> list[Any]:
        """Return one configuration for each of the databases.

        Raises:
          UserError: A sheet is named; the databases cannot share one.
        """
        if config.data.sheet:
            raise UserError(
                f"config.data.sheet: it is {config.data.sheet!r}, but the composite reads several "
                "sheets. Fix: leave it empty, and move other sheets out of the folders."
            )
        return [_part_config(config, name) for name in READERS]

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """Return the names of the configured classes, ordered by index.

        Raises:
          UserError: The databases have different classes.
        """
        class_map = config.data.classes
        classes = {name: tuple(database_info(name).emotions(class_map)) for name in READERS}
        if len(set(classes.values())) > 1:
            lists = "; ".join(f"{name}: {', '.join(names)}" for name, names in classes.items())
            raise UserError(
                f"config.data.classes: under {class_map!r} the databases have different classes "
                f"({lists}). Fix: --config.data.classes=megc2019."
            )
        return next(iter(classes.values()))

    def entries(self) -> list[FolderEntry]:
        """List the clips of all databases, one after the other.

        Raises:
          UserError: Files are missing; the message covers all databases.
        """
        entry_lists = _map_parts(self._parts.values(), lambda part: part.entries())
        self.listing = _join_listings({name: part.listing for name, part in self._parts.items()})
        return [entry for entries in entry_lists for entry in entries]

    def load(self, entry: FolderEntry) -> Clip:
        """Load a clip from its own database."""
        return self._parts[entry.dataset].load(entry)


def _part_config(config: Any, name: str) -> Any:
    """Return the configuration of one of the databases."""
    part = config.copy_and_resolve_references()
    part.data.dataset = name
    folders = config.data.get("parts") or {}  # Configurations of other data sets lack the field.
    part.data.manual_dir = folders.get(name) or config.data.manual_dir
    return part


def _map_parts(parts: Iterable[Any], make: Callable[[Any], Any]) -> list[Any]:
    """Apply `make` to each part; raise one UserError for all parts that fail."""
    results: list[Any] = []
    errors: list[UserError] = []
    for part in parts:
        try:
            results.append(make(part))
        except UserError as error:
            errors.append(error)
    if errors:
        in_map_alone = all(isinstance(error, ClassMapError) for error in errors)
        remedies = [] if in_map_alone else [_LOCATION_REMEDY]
        raise UserError("\n\n\n".join([*dict.fromkeys(map(str, errors)), *remedies]))
    return results


def _join_listings(listings: Mapping[str, Listing]) -> Listing:
    """Join the listings of the databases; prefix keys with the name of the database."""

    def join(field: str) -> dict[str, Any]:
        return {
            f"{name}/{key}": value
            for name, listing in listings.items()
            for key, value in getattr(listing, field).items()
        }

    sources = dict.fromkeys(listing.source for listing in listings.values() if listing.source)
    return Listing(
        repairs=tuple(repair for listing in listings.values() for repair in listing.repairs),
        facts=join("facts"),
        clips=join("clips"),
        stated=join("stated"),
        source=", ".join(sources),
    )
