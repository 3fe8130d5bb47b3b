"""The protocol of a source of clips, and what a source says of its own listing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from data_prep.clip import Clip
from data_prep.datasets.base.repairs import Repair


class Entry(Protocol):
    """One clip of a source, cheap to list and to send to another process."""

    @property
    def name(self) -> str:
        """`dataset/subject/clip_id`."""
        ...

    @property
    def key(self) -> str:
        """Text that changes whenever the clip's source material or its annotation does."""
        ...


class Source(Protocol):
    """A set of clips with classes; picklable, since worker processes load from it."""

    @property
    def name(self) -> str:
        """The data set's name, a lower-case identifier."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their indices."""
        ...

    def entries(self) -> Sequence[Any]:
        """List the clips (each an `Entry`) without reading a frame."""
        ...

    def load(self, entry: Any) -> Clip:
        """Read one clip; a clip that cannot be used raises UserError."""
        ...


@runtime_checkable
class ImageSource(Protocol):
    """What a source of finished images has in place of `load`: nothing is left to be prepared."""

    def record(self, entry: Any) -> dict[str, Any]:
        """Read one clip as the record that shards hold (`data_prep.pipeline.record`)."""
        ...


@dataclasses.dataclass(frozen=True)
class Listing:
    """What the last `entries()` of a database found.

    Attributes:
      repairs: every repair of the annotation and every row left out.
      facts: what it was read from: 'classes' (the map's name), 'frames' or 'images' (the folder
        below manual_dir), 'sheet' and its SHA-256, where there is one.
      clips: class -> clips; 'database/class' where several databases are one set.
      stated: class -> clips that the release is said to hold, empty where nobody says it.
      source: who says it.
    """

    repairs: tuple[Repair, ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    clips: Mapping[str, int] = dataclasses.field(default_factory=dict)
    stated: Mapping[str, int] = dataclasses.field(default_factory=dict)
    source: str = ""

    def release_description(self) -> dict[str, object]:
        """What the description of a set says of the release."""
        return {**self.facts, "clips": dict(self.clips), "stated": dict(self.stated)}

    @property
    def deviation(self) -> str:
        """In which classes the release deviates from what is stated; '' where it does not."""
        differing = [
            f"{name} {self.clips.get(name, 0)} ({count})"
            for name, count in self.stated.items()
            if self.clips.get(name, 0) != count
        ]
        if not differing:
            return ""
        return (
            f"{sum(self.clips.values())} clips, where {self.source} states "
            f"{sum(self.stated.values())}. Here (and there): {', '.join(differing)}."
        )


def listing(source: Source) -> Listing:
    """What a source's last `entries()` found; nothing for one that repairs nothing."""
    return getattr(source, "listing", Listing())
