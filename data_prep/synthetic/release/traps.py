"""What goes wrong in real releases, planted in synthetic ones, each in its own clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from data_prep.synthetic.release.layouts import Layout
from data_prep.synthetic.release.sheets import Row
from data_prep.synthetic.release.takes import Take

LONGEST_GAP = 3  # frames


def apex_missing(take: Take) -> Take:
    """A sign in place of the apex, as in sub04/EP12_01f of CASME II."""
    return _replace_cells(take, apex="/")


def apex_at_onset(take: Take) -> Take:
    """An apex in the onset frame, as in 55 rows of CAS(ME)^3: legal, and without movement."""
    return _replace_cells(take, apex=take.rows[0].onset)


def apex_outside(take: Take) -> Take:
    """An apex before the onset."""
    return _replace_cells(take, apex=take.rows[0].onset - 1)


def offset_before_onset(take: Take) -> Take:
    """An offset before the onset, as where a digit was lost."""
    return _replace_cells(take, offset=take.rows[0].onset - 1)


def offset_zero(take: Take) -> Take:
    """An offset of 0 where there is none, as in spNO.40/e of CAS(ME)^3."""
    return _replace_cells(take, offset=0)


def offset_after_end(take: Take) -> Take:
    """An offset of which there is no frame: the folder ends before."""
    return _replace_cells(take, offset=take.numbers[-1] + 5)


def emotion_outside(take: Take) -> Take:
    """An emotion that is in none of the paper's classes."""
    outside = take.layout.outside_emotion
    named = dataclasses.replace(take, names={**take.names, "emotion": outside})
    return _replace_cells(named, emotion=outside)


def subject_number(take: Take) -> Take:
    """A subject '006' of which a spreadsheet made the number 6."""
    return _replace_cells(take, subject=int(take.rows[0].subject))


def row_twice(take: Take) -> Take:
    """The same row a second time."""
    return dataclasses.replace(take, rows=take.rows * 2)


def two_expressions(take: Take) -> Take:
    """The movement comes twice, with a row each, in one folder."""
    (row,), later = take.rows, len(take.frames)
    return dataclasses.replace(
        take,
        rows=(row, _shift_row(row, later)),
        frames=np.concatenate([take.frames, take.frames]),
        numbers=take.numbers + tuple(number + later for number in take.numbers),
    )


def folder_missing(take: Take) -> Take:
    """A row whose folder is not there."""
    return dataclasses.replace(take, frames=take.frames[:0], numbers=())


def letter_case(take: Take) -> Take:
    """A clip's name in capitals in the sheet and not in its folder, as a 'J' in CAS(ME)^3."""
    return _replace_cells(take, clip=take.names["clip"].upper())


def not_micro(take: Take) -> Take:
    """A clip beside the micro-expressions, such as SMIC's `non_micro`: no expression at all."""
    folders = {
        release: folder.replace("/micro/{emotion}/", "/non_micro/")
        for release, folder in take.layout.folders.items()
    }
    return dataclasses.replace(take, layout=dataclasses.replace(take.layout, folders=folders))


def padding(take: Take) -> Take:
    """Zeros before the frame numbers where the other clips have none, or none where they have."""
    return dataclasses.replace(take, digits=0 if take.digits else 5)


def more_digits(take: Take) -> Take:
    """Frame numbers that grow from five digits to six, without zeros before them."""
    later = 100_000 - len(take.numbers) // 2 - take.numbers[0]
    rows = tuple(_shift_row(row, later) for row in take.rows)
    numbers = tuple(number + later for number in take.numbers)
    return dataclasses.replace(take, rows=rows, numbers=numbers, digits=0)


def gap(take: Take) -> Take:
    """Frames that the camera dropped between apex and offset."""
    (row,) = take.rows
    apex = int(row.apex)
    lost = range(apex + 1, apex + 1 + min(LONGEST_GAP, (row.offset - apex) // 2))
    kept = [index for index, number in enumerate(take.numbers) if number not in lost]
    numbers = tuple(take.numbers[index] for index in kept)
    return dataclasses.replace(take, frames=take.frames[kept], numbers=numbers)


def stray_files(take: Take) -> Take:
    """What file managers leave in folders; one looks like a frame."""
    return dataclasses.replace(take, strays=("Thumbs.db", ".DS_Store", "._img1.jpg"))


Trap = Callable[[Take], Take]
_IN_FOLDERS = {
    "padding": padding,
    "more_digits": more_digits,
    "gap": gap,
    "stray_files": stray_files,
}
_IN_SHEETS = {
    "apex_missing": apex_missing,
    "apex_at_onset": apex_at_onset,
    "apex_outside": apex_outside,
    "offset_before_onset": offset_before_onset,
    "offset_zero": offset_zero,
    "offset_after_end": offset_after_end,
    "row_twice": row_twice,
    "two_expressions": two_expressions,
    "folder_missing": folder_missing,
}


def traps_of(layout: Layout) -> dict[str, Trap]:
    """The traps that a database of this layout can hold, by name."""
    known: dict[str, Trap] = {**_IN_FOLDERS, **(_IN_SHEETS if layout.sheet else {})}
    if layout.outside_emotion:
        known["emotion_outside"] = emotion_outside
    if layout.names(0, 0, "")["cell"].isdigit():
        known["subject_number"] = subject_number
    if layout.clip == "{letter}":
        known["letter_case"] = letter_case
    if "/micro/" in layout.folders["raw"]:
        known["not_micro"] = not_micro
    return known


def _replace_cells(take: Take, **cells: str | int) -> Take:
    """The clip with other cells in its one row."""
    (row,) = take.rows
    return dataclasses.replace(take, rows=(dataclasses.replace(row, **cells),))


def _shift_row(row: Row, frames: int) -> Row:
    """The row with its marks that many frames later."""
    return dataclasses.replace(
        row, onset=row.onset + frames, apex=int(row.apex) + frames, offset=row.offset + frames
    )
