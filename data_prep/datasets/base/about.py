"""What is known of a database, from its `database.toml`: who hands it out, classes, known errors.

The file holds:
  title, owner, tree: for the message to a user who lacks the release; nobody owns a folder.
  fps: frames a second.
  subject: how a subject is written, as 'sub{:02d}'.
  [sheet]: `files`, patterns of the sheet's name, the best first; and for subject, clip, onset,
    apex, offset and emotion the name of the column, or a list of the names in use.
  [classes.MAP]: class -> the emotions of the sheet that belong to it, in lower case.
  [counts.MAP]: class -> clips that the database is said to have, and `source`.
  [[errors]]: `subject`, `clip`, `field`, what is `stated`, what is `right`, `source`; and, where
    one clip holds several expressions, the `onset` of the row that is meant, as it is stated. Or
    `row` for subject, clip and stated, where a source has only the number of the row, from 0 below
    the header: an offset is then corrected only where it cannot be one.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.common import check
from data_prep.common.errors import UserError


@dataclasses.dataclass(frozen=True)
class KnownError:
    """One cell of a sheet that is known to be wrong; applied only where the sheet still has it."""

    field: str
    right: str
    source: str
    subject: str = ""
    clip: str = ""
    stated: str = ""
    onset: str = ""  # of the row that is meant, where the clip has several
    row: str = ""  # its number, where the clip is not known


@dataclasses.dataclass(frozen=True)
class DatabaseInfo:
    """A database, as its file describes it; the module says what the fields are."""

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
        """Class -> its emotions in lower case, under a map, in the order of the classes' indices.

        Raises:
          UserError: the database has no such map.
        """
        if class_map not in self.classes:
            raise UserError(
                check.unknown_message(
                    f"classes of {self.name} (config.data.classes)", class_map, self.classes
                )
            )
        return self.classes[class_map]

    def subject_name(self, text: str) -> str:
        """A subject's one spelling: 6, '6.0' and '006' are '006'; '' where there is no one number.

        A folder 'sub01 (2)' is a copy, and not that of subject 2.
        """
        number = re.fullmatch(r"\D*(\d+)(\.0*)?", text)
        return self.subject.format(int(number[1])) if number else ""


@functools.cache
def database_info(name: str) -> DatabaseInfo:
    """Read the description of a database."""
    file = Path(__file__).parents[1] / name / "database.toml"
    read = tomllib.loads(file.read_text(encoding="utf-8"))
    read["errors"] = tuple(KnownError(**error) for error in read.get("errors", ()))
    return DatabaseInfo(name=name, **read)
