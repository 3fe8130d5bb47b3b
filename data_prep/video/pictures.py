"""Picture files: their pixels on the scale 0..255, and a folder of numbered ones as frames.

Grey values are brought to that scale by the type that they are stored in, never by what a picture
holds: 8 bits are taken as they are, 16 bits are multiplied by 255 / 65535, floating point stands
for 0..1. What is scaled is float32, so that nothing is rounded; a transparent channel is dropped.
A camera's 12 bits in a 16-bit file are therefore dark: scale them to the full range beforehand.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

# (start of the file, start of its last data, end of a whole file): OpenCV 4 shows the part that is
# left of such a file without a word.
_JPEG, _PNG = (b"\xff\xd8", b"\xff\xda", b"\xff\xd9"), (b"\x89PNG", b"IDAT", b"IEND")


def read(path: Path) -> np.ndarray:
    """Read a picture: grey `[h, w]` or RGB `[h, w, 3]` in 0..255, uint8 or, when scaled, float32.

    Raises:
      UserError: naming the file, when it cannot be read or its type has no known range.
    """
    picture = _to_255(_decode(path), path)
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _to_255(picture: np.ndarray, path: Path) -> np.ndarray:
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:
        return picture * np.float32(255 / 65535)
    low, high = picture.min(), picture.max()
    if picture.dtype.kind == "f" and 0 <= low <= high <= 1:  # never true of a NaN
        return (255 * picture).astype(np.float32)
    raise UserError(
        f"{path}: {picture.dtype} from {low:g} to {high:g}. Grey values must be whole numbers of 8 "
        "or 16 bits without a sign, or floating point in 0..1: convert the frames."
    )


def _decode(path: Path) -> np.ndarray:
    # imdecode rather than imread: paths may hold letters that imread cannot open on Windows.
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}). Check the file.") from error
    if not content:
        raise UserError(f"{path}: the file is empty. Copy it anew from the original.")
    picture = None
    if _is_complete(content):
        with contextlib.suppress(cv2.error):
            encoded = np.frombuffer(content, np.uint8)
            picture = cv2.imdecode(encoded, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if picture is None:
        raise UserError(f"{path}: not a readable picture. Copy it anew from the original.")
    return picture


def _is_complete(content: bytes) -> bool:
    for start, data, end in (_JPEG, _PNG):
        if content.startswith(start):
            return content.rfind(end) > content.rfind(data)
    return True


def picture_format(picture: np.ndarray) -> str:
    """Size, colour and type: `640 x 480 grey, uint8`."""
    colour = "grey" if picture.ndim == 2 else "colour"
    return f"{picture.shape[1]} x {picture.shape[0]} {colour}, {picture.dtype}"


def grey(picture: np.ndarray) -> np.ndarray:
    """Grey float32 `[h, w]` of a grey `[h, w]` or RGB `[h, w, 3]` picture; nothing is rounded."""
    picture = picture.astype(np.float32)
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


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
    def missing_count(self) -> int:
        """How many numbers between the first and the last have no frame."""
        return self.numbers[-1] - self.numbers[0] + 1 - len(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of these frames."""
        if not self.missing_count:
            return ()
        return (
            f"{self.missing_count} numbers between {self.numbers[0]} and {self.numbers[-1]} have no "
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
        frame = read(path)
        found = picture_format(frame)
        if found != self._format:
            raise UserError(
                f"{path}: {found}, but {self._paths[0].name} is {self._format}. The frames of a clip "
                "must have one size and type: write them anew from the original."
            )
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @functools.cached_property
    def _format(self) -> str:
        return picture_format(read(self._paths[0]))


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
            f"{folder}: {len(numbered)} numbered frames ({', '.join(SUFFIXES)}), at least "
            "2 are needed. Unpack the release again, or number the frames."
        )
    return dict(sorted(numbered.items()))


def frame_number(name: str) -> int | None:
    """The last integer in a picture's name: `006_05562.jpg` is frame 5562.

    None where there is no integer, in another file's name, and in a hidden one's.
    """
    stem, point, suffix = name.rpartition(".")
    if name.startswith(".") or f"{point}{suffix}".lower() not in SUFFIXES:
        return None
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1]) if numbers else None
