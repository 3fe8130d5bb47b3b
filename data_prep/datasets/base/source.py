"""The protocol of a source of clips, and the listing that a source makes of its clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from data_prep.clip import Clip
from data_prep.datasets.base.repairs import Repair


class Entry(Protocol):
    """One clip of a source; cheap to list and to send to another process."""

    @property
    def name(self) -> str:
        """`dataset/subject/clip_id`."""
        ...

    @property
    def key(self) -> str:
        """Text that changes whenever the clip's source material or annotation changes."""
        ...


class Source(Protocol):
    """A set of clips with classes; picklable, because worker processes load from it."""

    @property
    def name(self) -> str:
        """The name of the data set, a lower-case identifier."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, ordered by index."""
        ...

    def entries(self) -> Sequence[Any]:
        """List the clips, each an `Entry`, without reading a frame."""
        ...

    def load(self, entry: Any) -> Clip:
        """Load one clip; raise UserError if it cannot be used."""
        ...


@runtime_checkable
class ImageSource(Protocol):
    """A source of ready-made images, with `record` in place of `load`: no stage is left to run."""

    def record(self, entry: Any) -> dict[str, Any]:
        """Read one clip as a record of the shards (see `data_prep.pipeline.record`)."""
        ...


@dataclasses.dataclass(frozen=True)
class Listing:
    """The result of the last `entries()` of a database.

    Attributes:
      repairs: Every repair of the annotation and every row left out.
      facts: Where the rows come from: 'classes' (name of the map), 'frames' or 'images' (folder
        below manual_dir), and, if there is a sheet, 'sheet' and 'sheet_sha256'.
      clips: Class -> number of clips; 'database/class' where several databases form one set.
      stated: Class -> published number of clips; empty if none is published.
      source: Publication of the stated numbers.
    """

    repairs: tuple[Repair, ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    clips: Mapping[str, int] = dataclasses.field(default_factory=dict)
    stated: Mapping[str, int] = dataclasses.field(default_factory=dict)
    source: str = ""

    def release_description(self) -> dict[str, object]:
        """Return the entries about the release for the description of a data set."""
        return {**self.facts, "clips": dict(self.clips), "stated": dict(self.stated)}

    @property
    def deviation(self) -> str:
        """Sentences on the classes whose counts differ from the published ones, or ''."""
        differing = [
            f"{name} {self.clips.get(name, 0)} ({count})"
            for name, count in self.stated.items()
            if self.clips.get(name, 0) != count
        ]
        if not differing:
            return ""
        return (
            f"{sum(self.clips.values())} clips, where {self.source} states "
            f"{sum(self.stated.values())}. Found (stated): {', '.join(differing)}."
        )


def listing(source: Source) -> Listing:
    """Return the listing of a source's last `entries()`; empty if it keeps none."""
    return getattr(source, "listing", Listing())
