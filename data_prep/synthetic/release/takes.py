"""One clip of a synthetic release: drawn, held as its folder and rows will be, and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.common.cv import cv2
from data_prep.synthetic.clips import Entry, Spec, SyntheticSource
from data_prep.synthetic.release.layouts import Layout
from data_prep.synthetic.release.sheets import Row

CROPPED = "cropped"
LANDMARKS, LANDMARKS_CROPPED = "landmarks", "landmarks_cropped"
CROP_MARGINS = (
    0.12,
    0.3,
    0.12,
    0.08,
)  # sizes of a face that a crop holds left, above, right, below


@dataclasses.dataclass(frozen=True)
class Take:
    """A clip as it will lie in the tree: its folder's files and its rows of the sheet.

    Attributes:
      layout: of the database.
      names: what the layout's templates hold.
      rows: of the sheet; a database without one still states here what the clip shows.
      frames: uint8 `[t, h, w, 3]` RGB; without any, there is no folder.
      landmarks: `[68, 2]` (x, y) in pixels of the onset frame.
      numbers: of the frames, as in the names of their files.
      digits: to which these numbers are filled up with zeros.
      strays: names of files that are no frames.
    """

    layout: Layout
    names: Mapping[str, str]
    rows: tuple[Row, ...]
    frames: np.ndarray
    landmarks: np.ndarray
    numbers: tuple[int, ...]
    digits: int
    strays: tuple[str, ...] = ()


def draw(layout: Layout, spec: Spec, subject: int, count: int) -> Take:
    """Draw the `count`-th clip of a subject: the classes, and in them the emotions, in turn."""
    classes = [*layout.emotions]
    label = classes[(subject + count) % len(classes)]
    words = layout.emotions[label]
    names = layout.names(subject, count, words[(subject + count // len(classes)) % len(words)])
    source = SyntheticSource(spec)
    entry = Entry(spec, layout.first_person + subject, count, label)
    clip = source.load(entry)
    assert clip.apex is not None  # a synthetic clip has one, and landmarks
    assert clip.landmarks is not None
    start, stop = (clip.onset, clip.offset + 1) if layout.trimmed else (0, len(clip.frames))
    shift = layout.first_frame - start
    row = Row(
        subject=names["cell"],
        clip=names["clip"],
        emotion=names["emotion"],
        onset=clip.onset + shift,
        apex=clip.apex + shift,
        offset=clip.offset + shift,
        action_units="+".join(str(unit) for unit in sorted(source.action_units(entry))),
        fps=layout.fps,
        path=layout.folders["raw"].format(onset=clip.onset + shift, **names),
    )
    return Take(
        layout=layout,
        names=names,
        rows=(row,),
        frames=np.asarray(clip.frames)[start:stop],
        landmarks=clip.landmarks,
        numbers=tuple(range(layout.first_frame, layout.first_frame + stop - start)),
        digits=layout.digits,
    )


def write(take: Take, releases: Sequence[str], root: Path, out: Path) -> None:
    """Write a take's frames below `root` and the landmarks of its onset frame below `out`."""
    if not take.numbers:
        return
    for release in releases:
        cropped = release == CROPPED
        frames, points = _crop_to_face(take) if cropped else (take.frames, take.landmarks)
        for onset in sorted({row.onset for row in take.rows}):
            folder = root / take.layout.folders[release].format(onset=onset, **take.names)
            folder.mkdir(parents=True, exist_ok=True)
            _write_frames(take, take.layout.files[release], frames, folder)
        path = out / (LANDMARKS_CROPPED if cropped else LANDMARKS) / take.names["subject"]
        path.mkdir(parents=True, exist_ok=True)
        np.savetxt(path / f"{take.names['clip']}.csv", points, fmt="%.3f", delimiter=",")


def _crop_to_face(take: Take) -> tuple[np.ndarray, np.ndarray]:
    """The clip cut to the face's rectangle, and the landmarks in it."""
    low, high = take.landmarks.min(0), take.landmarks.max(0)
    around = np.reshape(CROP_MARGINS, (2, 2)) * (high - low)
    left, top = np.maximum(np.floor(low - around[0]), 0).astype(int)
    right, bottom = np.ceil(high + around[1]).astype(int)
    return take.frames[:, top:bottom, left:right], take.landmarks - (left, top)


def _write_frames(take: Take, template: str, frames: np.ndarray, folder: Path) -> None:
    code = cv2.COLOR_RGB2GRAY if take.layout.grey else cv2.COLOR_RGB2BGR
    for number, frame in zip(take.numbers, frames, strict=True):
        name = template.format(frame=f"{number:0{take.digits}d}", **take.names)
        _, encoded = cv2.imencode(Path(name).suffix, cv2.cvtColor(frame, code))
        (folder / name).write_bytes(encoded.tobytes())
    for name in take.strays:
        (folder / name).write_bytes(b"not a picture")
