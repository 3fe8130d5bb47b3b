"""The description of a database in its `database.toml`: owner, classes, known errors.

The file holds:
  title, owner, tree: Texts of the message to a user who lacks the release. The owner is empty for
    a folder of the user's own.
  fps: Frames per second.
  subject: Format of a subject's name, such as 'sub{:02d}'.
  [sheet]: `files`, patterns of the sheet's file name, best first. For each of subject, clip, onset,
    apex, offset and emotion: the column name, or a list of the names in use.
  [classes.MAP]: Class -> the sheet's emotions that belong to it, in lower case.
  [counts.MAP]: Class -> published number of clips; and `source`, the publication.
  [[errors]]: `subject`, `clip`, `field`, the `stated` value, the `right` value, `source`. If one
    clip holds several expressions, also `onset`: the stated onset of the row in question. If the
    source gives only a row number (from 0, below the header), `row` replaces subject, clip and
    stated; the offset is then corrected only if the stated one is impossible.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep import class_map as class_maps
from data_prep.common import check
from data_prep.common.errors import UserError


@dataclasses.dataclass(frozen=True)
class KnownError:
    """A known error in one cell of a sheet. It is corrected only if the sheet still has it."""

    field: str
    right: str
    source: str
    subject: str = ""
    clip: str = ""
    stated: str = ""
    onset: str = ""  # Onset of the row in question, if the clip has several rows.
    row: str = ""  # Number of the row, if the clip is not known.


@dataclasses.dataclass(frozen=True)
class DatabaseInfo:
    """A database as described by its `database.toml`; the module docstring lists the fields."""

    name: str
    title: str
    owner: str
    tree: str
    fps: float
    subject: str
    classes: Mapping[str, Mapping[str, list[str]]]
    counts: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    sheet: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    errors: tuple[KnownError, ...] = ()

    def emotions(self, class_map: str) -> Mapping[str, list[str]]:
        """Return class -> its emotions in lower case, ordered by class index.

        Args:
          class_map: Name of the map from emotions to classes, or a map of the user's own: the path
            or the content of a file (`data_prep.class_map`).

        Raises:
          UserError: The database has no such map, or the file cannot be used.
        """
        if class_maps.is_own(class_map):
            return class_maps.read(class_map).emotions(self.name)
        if class_map not in self.classes:
            raise UserError(
                check.unknown_message(
                    f"classes of {self.name} (config.data.classes)", class_map, self.classes
                )
            )
        return self.classes[class_map]

    def subject_name(self, text: str) -> str:
        """Return the canonical spelling of a subject: '6', '6.0' and '006' give '006'.

        The result is '' unless the text is one number after an optional prefix: a folder
        'sub01 (2)' is a copy, not the folder of subject 2.
        """
        number = re.fullmatch(r"\D*(\d+)(\.0*)?", text)
        return self.subject.format(int(number[1])) if number else ""


@functools.cache
def database_info(name: str) -> DatabaseInfo:
    """Read the description of a database."""
    file = Path(__file__).parents[1] / name / "database.toml"
    fields = tomllib.loads(file.read_text(encoding="utf-8"))
    fields["errors"] = tuple(KnownError(**error) for error in fields.get("errors", ()))
    return DatabaseInfo(name=name, **fields)


@functools.cache
def known_emotions() -> frozenset[str]:
    """Return the emotions of all databases that have a description, in lower case."""
    files = Path(__file__).parents[1].glob("*/database.toml")
    infos = (database_info(file.parent.name) for file in files)
    return frozenset(
        word
        for info in infos
        for classes in info.classes.values()
        for words in classes.values()
        for word in words
    )
