"""One picture file: its pixels on the scale 0..255.

Grey values are brought to that scale by the type that they are stored in, never by what a picture
holds: 8 bits are taken as they are, 16 bits are multiplied by 255 / 65535, floating point stands
for 0..1. What is scaled is float32, so that nothing is rounded; a transparent channel is dropped.
A camera's 12 bits in a 16-bit file are therefore dark: scale them to the full range beforehand.
"""

from __future__ import annotations

import contextlib
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
    if _is_whole(content):
        with contextlib.suppress(cv2.error):
            encoded = np.frombuffer(content, np.uint8)
            picture = cv2.imdecode(encoded, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if picture is None:
        raise UserError(f"{path}: not a readable picture. Copy it anew from the original.")
    return picture


def _is_whole(content: bytes) -> bool:
    for start, data, end in (_JPEG, _PNG):
        if content.startswith(start):
            return content.rfind(end) > content.rfind(data)
    return True


def kind(picture: np.ndarray) -> str:
    """Size, colour and type: `640 x 480 grey, uint8`."""
    colour = "grey" if picture.ndim == 2 else "colour"
    return f"{picture.shape[1]} x {picture.shape[0]} {colour}, {picture.dtype}"


def grey(picture: np.ndarray) -> np.ndarray:
    """Grey float32 `[h, w]` of a grey `[h, w]` or RGB `[h, w, 3]` picture; nothing is rounded."""
    picture = picture.astype(np.float32)
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
