"""Frames in files, read when they are asked for: a folder of pictures, or a video."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.common.errors import UserError
from data_prep.video import pictures
from data_prep.video.file import Video


class Images:
    """Picture files in the order of their numbers.

    Attributes:
      numbers: of each frame, as its file's name has it.
      fps: None, since pictures do not say it.
    """

    fps: float | None = None

    def __init__(self, paths: Mapping[int, Path]):
        """Take the files by their numbers."""
        self.numbers = sorted(paths)
        self._paths = [paths[number] for number in self.numbers]

    @property
    def files(self) -> tuple[Path, ...]:
        """From which these frames are read."""
        return tuple(self._paths)

    @property
    def absent(self) -> int:
        """How many numbers between the first and the last have no frame."""
        return self.numbers[-1] - self.numbers[0] + 1 - len(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of these frames."""
        if not self.absent:
            return ()
        return (
            f"{self.absent} numbers between {self.numbers[0]} and {self.numbers[-1]} have no "
            "frame; those that are there are taken to follow each other evenly, in number and in "
            "time.",
        )

    def part(self, start: int, stop: int) -> Images:
        """The frames at the indices `start` to `stop - 1`."""
        return Images(dict(zip(self.numbers[start:stop], self._paths[start:stop])))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Read one frame.

        Raises:
          UserError: it cannot be read, or is not like the first one.
        """
        path = self._paths[index]
        frame = pictures.read(path)
        kind = pictures.kind(frame)
        if kind != self._kind:
            raise UserError(
                f"{path}: {kind}, but {self._paths[0].name} is {self._kind}. The frames of a clip "
                "must have one size and type: write them anew from the original."
            )
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @functools.cached_property
    def _kind(self) -> str:
        return pictures.kind(pictures.read(self._paths[0]))


def open_frames(path: Path, stop: int | None = None) -> Images | Video:
    """The frames of a folder or of a video, of which none is read yet.

    Args:
      path: a folder of pictures, ordered by the last integer of their names, or a video file.
      stop: the number of a video's frame at which to stop, as if the video ended there.

    Raises:
      UserError: there is no such file or folder, or it holds fewer than two frames.
    """
    if path.is_dir():
        return Images(frame_paths(path))
    if not path.is_file():
        raise UserError(f"{path}: there is no such video or folder of frames. Correct the path.")
    if path.suffix.lower() in pictures.SUFFIXES:
        raise UserError(
            f"{path}: this is one picture; movement needs two at least. Give a video, or the "
            "folder that holds the frames."
        )
    return Video(path, stop=stop)


def frame_paths(folder: Path) -> dict[int, Path]:
    """The frames of a folder by their number, in numeric order.

    Raises:
      UserError: when the folder is absent, two files share a number, or fewer than 2 are there.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: the clip's folder is absent. Unpack the release again.")
    numbered: dict[int, Path] = {}
    for name in sorted(os.listdir(folder)):
        number = frame_number(name)
        if number is None:
            continue
        if number in numbered:
            raise UserError(
                f"{folder}: frame {number} is there twice, as {numbered[number].name} and {name}. "
                "Keep one of them."
            )
        numbered[number] = folder / name
    if len(numbered) < 2:
        raise UserError(
            f"{folder}: {len(numbered)} numbered frames ({', '.join(pictures.SUFFIXES)}), at least "
            "2 are needed. Unpack the release again, or number the frames."
        )
    return dict(sorted(numbered.items()))


def frame_number(name: str) -> int | None:
    """The last integer in a picture's name: `006_05562.jpg` is frame 5562.

    None where there is no integer, in another file's name, and in a hidden one's.
    """
    stem, point, suffix = name.rpartition(".")
    if name.startswith(".") or f"{point}{suffix}".lower() not in pictures.SUFFIXES:
        return None
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1]) if numbers else None


def locate(
    numbers: Sequence[int],
    onset: int | None,
    apex: int | None,
    offset: int | None,
    *,
    where: object,
    remedy: str,
) -> tuple[int, int | None, int]:
    """Turn the marks, which are frame numbers, into indices of `numbers`.

    Args:
      numbers: of the frames that are there, rising.
      onset: None is the first frame.
      apex: None is not known.
      offset: None is the last frame.
      where: the clip, for an error.
      remedy: what to do about marks that cannot be, for an error.

    Raises:
      UserError: the marks are not in their order, or frames between them are absent.
    """
    first = numbers[0] if onset is None else onset
    last = numbers[-1] if offset is None else offset
    if not first < last or (apex is not None and not first <= apex <= last):
        raise UserError(
            f"{where}: onset {first}, apex {apex}, offset {last} are not in this order. {remedy}"
        )
    position = {number: index for index, number in enumerate(numbers)}
    marked = (onset, apex, offset) != (None, None, None)
    absent = [number for number in range(first, last + 1) if number not in position]
    if absent and marked:
        raise UserError(
            f"{where}: {len(absent)} of the frames {first} to {last} are absent, first "
            f"{absent[0]}; there are {numbers[0]} to {numbers[-1]}. {remedy}"
        )
    return position[first], None if apex is None else position[apex], position[last]
