"""Picture files as pixels in 0..255, and a folder of numbered pictures as frames.

Grey values are scaled by the type that they are stored in, never by the content of a picture: 8
bits are used unchanged, 16 bits are multiplied by 255 / 65535, and floating point stands for 0..1.
Scaled values are float32, so that nothing is rounded. An alpha channel is dropped. The 12 bits of a
camera in a 16-bit file are therefore dark: scale them to the full range beforehand.
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

# Bytes at the start of a file, at the start of its last data, and at the end of a complete file.
# OpenCV 4 decodes what is left of a truncated file without an error.
_JPEG, _PNG = (b"\xff\xd8", b"\xff\xda", b"\xff\xd9"), (b"\x89PNG", b"IDAT", b"IEND")


def read(path: Path) -> np.ndarray:
    """Read a picture.

    Args:
      path: Picture file.

    Returns:
      Grey `[h, w]` or RGB `[h, w, 3]` in 0..255: uint8, or float32 if it was scaled.

    Raises:
      UserError: The file cannot be read, or its type has no known range.
    """
    picture = _to_255(_decode(path), path)
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _to_255(picture: np.ndarray, path: Path) -> np.ndarray:
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:
        return picture * np.float32(255 / 65535)
    low, high = picture.min(), picture.max()
    if picture.dtype.kind == "f" and 0 <= low <= high <= 1:  # False for NaN.
        return (255 * picture).astype(np.float32)
    raise UserError(
        f"{path}: {picture.dtype} from {low:g} to {high:g}. Grey values must be unsigned integers "
        "of 8 or 16 bits, or floating point in 0..1. Fix: convert the frames."
    )


def _decode(path: Path) -> np.ndarray:
    # imread would fail on Windows for paths with some letters.
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be opened ({error.strerror}). Fix: check the file."
        ) from error
    if not content:
        raise UserError(f"{path}: the file is empty. Fix: copy it again from the original.")
    picture = None
    if _is_complete(content):
        with contextlib.suppress(cv2.error):
            encoded = np.frombuffer(content, np.uint8)
            picture = cv2.imdecode(encoded, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if picture is None:
        raise UserError(f"{path}: not a readable picture. Fix: copy it again from the original.")
    return picture


def _is_complete(content: bytes) -> bool:
    for start, data, end in (_JPEG, _PNG):
        if content.startswith(start):
            return content.rfind(end) > content.rfind(data)
    return True


def picture_format(picture: np.ndarray) -> str:
    """Return the size, colour and type of a picture, as in `640 x 480 grey, uint8`."""
    colour = "grey" if picture.ndim == 2 else "colour"
    return f"{picture.shape[1]} x {picture.shape[0]} {colour}, {picture.dtype}"


def grey(picture: np.ndarray) -> np.ndarray:
    """Convert a picture to grey float32 `[h, w]`, without rounding.

    Args:
      picture: Grey `[h, w]` or RGB `[h, w, 3]`.
    """
    picture = picture.astype(np.float32)
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


class Images:
    """Picture files in the order of their numbers.

    Attributes:
      numbers: Number of each frame, as in the name of its file.
      fps: None, since pictures do not state a frame rate.
    """

    fps: float | None = None

    def __init__(self, paths: Mapping[int, Path]):
        """Sort the files by their numbers.

        Args:
          paths: Number of a frame -> its file.
        """
        self.numbers = sorted(paths)
        self._paths = [paths[number] for number in self.numbers]

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that these frames are read from."""
        return tuple(self._paths)

    @property
    def missing_count(self) -> int:
        """Number of frames that are missing between the first and the last."""
        return self.numbers[-1] - self.numbers[0] + 1 - len(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on these frames, one sentence each."""
        if not self.missing_count:
            return ()
        return (
            f"{self.missing_count} numbers between {self.numbers[0]} and {self.numbers[-1]} have "
            "no frame; the existing frames are treated as consecutive and evenly spaced in time.",
        )

    def part(self, start: int, stop: int) -> Images:
        """Return the frames at the indices `start` to `stop - 1`."""
        return Images(dict(zip(self.numbers[start:stop], self._paths[start:stop])))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Read one frame.

        Raises:
          UserError: The frame cannot be read, or its size or type is not that of the first frame.
        """
        path = self._paths[index]
        frame = read(path)
        frame_format = picture_format(frame)
        if frame_format != self._format:
            raise UserError(
                f"{path}: {frame_format}, but {self._paths[0].name} is {self._format}. The frames "
                "of a clip must have one size and type. Fix: export them again from the original."
            )
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @functools.cached_property
    def _format(self) -> str:
        return picture_format(read(self._paths[0]))


def frame_paths(folder: Path) -> dict[int, Path]:
    """Return the frames of a folder by their number, in numeric order.

    Raises:
      UserError: The folder is absent, two files share a number, or there are fewer than 2 frames.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: the clip's folder is absent. Fix: unpack the release again.")
    numbered: dict[int, Path] = {}
    for name in sorted(os.listdir(folder)):
        number = frame_number(name)
        if number is None:
            continue
        if number in numbered:
            raise UserError(
                f"{folder}: frame {number} occurs twice, as {numbered[number].name} and {name}. "
                "Fix: keep one of them."
            )
        numbered[number] = folder / name
    if len(numbered) < 2:
        raise UserError(
            f"{folder}: {len(numbered)} numbered frames ({', '.join(SUFFIXES)}), at least "
            "2 are needed. Fix: unpack the release again, or number the frames."
        )
    return dict(sorted(numbered.items()))


def frame_number(name: str) -> int | None:
    """Return the last integer in a picture's name: `006_05562.jpg` is frame 5562.

    Returns:
      The number, or None if the name has no integer, is hidden, or is not that of a picture.
    """
    stem, point, suffix = name.rpartition(".")
    if name.startswith(".") or f"{point}{suffix}".lower() not in SUFFIXES:
        return None
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1]) if numbers else None
