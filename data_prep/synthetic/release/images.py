"""A tree in the layout of `wangzhifengharrison/HTNet`: one flow image per clip of a composite.

Names, columns and the colours of an image follow that repository; nothing here comes from its
images. Red is u, green is v and blue is the optical strain, each stretched to 0..255.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_prep.common.cv import cv2
from data_prep.common.strain import strain
from data_prep.synthetic.clips import Entry, Spec, SyntheticSource
from data_prep.synthetic.release.layouts import Layout

IMAGES = "datasets/STSNet_whole_norm_u_v_os"
SHEET = "combined_3_class2_for_optical_flow.csv"
COLUMNS = ("dataset", "sub", "filename_o", "label", "apex", "imagename", "sub_filename")
CLASSES = ("negative", "positive", "surprise")
SIZE = 28


def write(layouts: Mapping[str, Layout], spec: Spec, out: Path) -> dict[str, str]:
    """Write the images of `spec.subjects` people per database, and their sheet.

    Args:
      layouts: Name of a database -> its layout.
      spec: Specification of the synthetic clips.
      out: Root of the tree.

    Returns:
      `database/subject/clip` of each clip -> its class, in the order of the sheet.
    """
    folder = out / IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    source, clips, rows = SyntheticSource(spec), {}, []
    for database, subject, clip, entry in _clips(layouts, spec):
        _write_image(image(source, entry), folder / f"{subject}_{clip} .png")
        rows.append(
            (database, subject, clip, CLASSES.index(entry.label), *_unused_cells(subject, clip))
        )
        clips[f"{database}/{subject}/{clip}"] = entry.label
    with (out / SHEET).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    return clips


def _clips(layouts: Mapping[str, Layout], spec: Spec) -> Iterator[tuple[str, str, str, Entry]]:
    """Yield database, subject, clip and the synthetic clip, with the classes in turn."""
    counts = range(spec.subjects), range(spec.clips_per_subject)
    for (database, layout), subject, count in itertools.product(layouts.items(), *counts):
        label = CLASSES[(subject + count) % len(CLASSES)]
        names = layout.names(subject, count, label)
        entry = Entry(spec, layout.first_person + subject, count, label)
        yield database, names["subject"], names["clip"], entry


def _unused_cells(subject: str, clip: str) -> tuple[str, str, str]:
    """Return the cells of a row that no reader uses."""
    return "", f"{subject}_{clip}.jpg", ""


def image(source: SyntheticSource, entry: Entry) -> np.ndarray:
    """Draw a face's flow from onset to apex, and its strain, uint8 `[28, 28, 3]`.

    Args:
      source: Source of the clip.
      entry: Clip.
    """
    points = source.landmarks(entry)
    left, top = np.maximum(np.floor(points.min(0)), 0).astype(int)
    right, bottom = np.ceil(points.max(0)).astype(int)
    face = source.apex_motion(entry)[top:bottom, left:right]
    flow = cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return stretch_channels(np.dstack([flow, strain(flow)]))


def stretch_channels(image: np.ndarray) -> np.ndarray:
    """Stretch each channel from its minimum and maximum to 0..255, uint8 `[h, w, c]`."""
    low, high = image.min((0, 1)), image.max((0, 1))
    return np.rint(255 * (image - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)


def _write_image(image: np.ndarray, path: Path) -> None:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.write_bytes(encoded.tobytes())
