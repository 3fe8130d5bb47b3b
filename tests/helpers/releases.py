"""Small releases of CASME II, SAMM and SMIC: their folders, frames and sheets."""

import numpy as np
import openpyxl
import pytest

from data_prep.common.cv import cv2

SAMM_HEADER = (
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Duration",
    "Micro",
    "Action Units",
    "Estimated Emotion",
    "Objective Classes",
    "Notes",
)

CASME2_HEADER = (
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
)


def draw(folder, names, shape=(6, 8)):
    """Frames of which the first pixel tells the position in `names`."""
    folder.mkdir(parents=True, exist_ok=True)
    for position, name in enumerate(names):
        image = np.full(shape, 7, np.uint8)
        image[0, 0] = position
        cv2.imwrite(str(folder / name), image)


def sheet(path, header, rows, above=0):
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    for line in range(above):
        page.append([f"Explanation {line}"])
    page.append(header)
    for row in rows:
        page.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def samm_row(subject, clip, onset, apex, offset, emotion):
    return (subject, clip, "x", onset, apex, offset, 5, "Micro", "4", emotion, 2, "")


def casme2_row(subject, clip, onset, apex, offset, emotion):
    return (subject, clip, None, onset, apex, offset, None, "4", emotion)


@pytest.fixture
def casme2(tmp_path):
    for release, prefix in (("Cropped", "reg_img"), ("CASME2_RAW_selected", "img")):
        for subject in ("sub01", "sub02"):
            names = [f"{prefix}{number}.png" for number in (9, 10, 11, 12)]
            draw(tmp_path / release / subject / "EP02_01f", names)
    rows = [
        casme2_row("01", "EP02_01f", 9, 10, 12, "happiness"),
        casme2_row(2, "EP02_01f", 9, "/", 11, "repression"),  # the same clip name, another subject
        casme2_row("02", "EP03_01", 9, 10, 11, "fear"),
        casme2_row("02", "EP03_02", 9, 10, 11, "sadness"),
        casme2_row("02", "EP03_03", 9, 10, 11, "fear"),
    ]
    sheet(tmp_path / "CASME2-coding-20140508.xlsx", CASME2_HEADER, rows)
    return tmp_path


@pytest.fixture
def smic(tmp_path):
    for subject, clip, first in (
        ("s01", "negative/s1_ne_01", 99998),
        ("s3", "surprise/s3_sur_02", 5),
    ):
        names = [f"image{number}.bmp" for number in range(first, first + 4)]
        for camera in ("HS", "NIR"):
            draw(tmp_path / "SMIC" / camera / subject / "micro" / clip, names)
    draw(tmp_path / "SMIC" / "HS" / "s01" / "non_micro" / "s1_non_01", ["image1.bmp", "image2.bmp"])
    return tmp_path
