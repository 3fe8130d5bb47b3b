"""What a user wants of one video."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from data_prep.spotting.watcher import VERSION


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the user wants of one video.

    Attributes:
      path: of a video file or a folder of frames.
      onset, apex, offset: numbers of frames; all None to have movements spotted.
      fps: frames a second; None is what the file says.
      landmarks: a file of them (`data_prep.stages.landmarks.read`), or None to have the face found.
      film: whether a film with the overlay is wanted.
      reasons: whether a page for each movement is.
      faces: whether faces may be in these pages.
    """

    path: Path
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    fps: float | None = None
    landmarks: Path | None = None
    film: bool = False
    reasons: bool = False
    faces: bool = True

    @property
    def is_marked(self) -> bool:
        """Whether the one movement is given."""
        return (self.onset, self.apex, self.offset) != (None, None, None)

    def key(self, model: str) -> dict[str, Any]:
        """All that the answers depend on, as JSON gives it back.

        What is drawn of them (a film, pages) does not count.

        Args:
          model: stands for the model.
        """
        wishes = {name: _plain(value) for name, value in vars(self).items()}
        for drawn in ("film", "reasons", "faces"):
            del wishes[drawn]
        stands = [_stamp(path) for path in (self.path, self.landmarks) if path]
        return {"model": model, "watching": VERSION, "files": stands, **wishes}


def _plain(value: Any) -> Any:
    return str(value.resolve()) if isinstance(value, Path) else value


def _stamp(path: Path) -> list[Any]:
    """What changes when a file, or what is in a folder, does."""
    files = [*path.iterdir()] if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    newest = max((stat.st_mtime_ns for stat in stats), default=0)
    return [len(stats), sum(stat.st_size for stat in stats), newest]
