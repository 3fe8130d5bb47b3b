"""One clip of a synthetic release, as its folder and its rows of the sheet."""

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
# Margins of a crop left, above, right and below the face, in sizes of the face.
CROP_MARGINS = (0.12, 0.3, 0.12, 0.08)


@dataclasses.dataclass(frozen=True)
class Take:
    """A clip as it is written to the tree: the files of its folder and its rows of the sheet.

    Attributes:
      layout: Layout of the database.
      names: Fields of the layout's templates.
      rows: Rows of the sheet. They describe the clip even if the database has no sheet.
      frames: Frames, uint8 `[t, h, w, 3]` RGB. Without frames there is no folder.
      landmarks: Landmarks `[68, 2]`, (x, y) in pixels of the onset frame.
      numbers: Numbers of the frames, as in the names of their files.
      digits: Number of digits to which these numbers are padded with zeros.
      strays: Names of files that are no frames.
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
    """Draw a clip; the classes, and the emotions of each class, are used in turn.

    Args:
      layout: Layout of the database.
      spec: Specification of the synthetic clips.
      subject: Index of the subject, from 0.
      count: Index of the clip within the subject, from 0.
    """
    classes = [*layout.emotions]
    label = classes[(subject + count) % len(classes)]
    emotions = layout.emotions[label]
    names = layout.names(
        subject, count, emotions[(subject + count // len(classes)) % len(emotions)]
    )
    source = SyntheticSource(spec)
    entry = Entry(spec, layout.first_person + subject, count, label)
    clip = source.load(entry)
    assert clip.apex is not None  # A synthetic clip has an apex and landmarks.
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
    """Write the frames of a take, and the landmarks of its onset frame.

    Args:
      take: Clip.
      releases: Releases of the database to write.
      root: Folder of the database, which gets the frames.
      out: Folder of the tree, which gets the landmarks.
    """
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
    """Crop the frames to the face, and return them and the landmarks in the crop."""
    low, high = take.landmarks.min(0), take.landmarks.max(0)
    margins = np.reshape(CROP_MARGINS, (2, 2)) * (high - low)
    left, top = np.maximum(np.floor(low - margins[0]), 0).astype(int)
    right, bottom = np.ceil(high + margins[1]).astype(int)
    return take.frames[:, top:bottom, left:right], take.landmarks - (left, top)


def _write_frames(take: Take, template: str, frames: np.ndarray, folder: Path) -> None:
    code = cv2.COLOR_RGB2GRAY if take.layout.grey else cv2.COLOR_RGB2BGR
    for number, frame in zip(take.numbers, frames, strict=True):
        name = template.format(frame=f"{number:0{take.digits}d}", **take.names)
        _, encoded = cv2.imencode(Path(name).suffix, cv2.cvtColor(frame, code))
        (folder / name).write_bytes(encoded.tobytes())
    for name in take.strays:
        (folder / name).write_bytes(b"not a picture")
