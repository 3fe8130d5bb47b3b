"""Faults of real releases, planted in synthetic ones, each in a clip of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from data_prep.synthetic.release.layouts import Layout
from data_prep.synthetic.release.sheets import Row
from data_prep.synthetic.release.takes import Take

LONGEST_GAP = 3  # frames


def apex_missing(take: Take) -> Take:
    """Replace the apex with a sign, as in sub04/EP12_01f of CASME II."""
    return _replace_cells(take, apex="/")


def apex_at_onset(take: Take) -> Take:
    """Put the apex in the onset frame, as in 55 rows of CAS(ME)^3.

    Such a row is valid, but there is no movement up to the apex.
    """
    return _replace_cells(take, apex=take.rows[0].onset)


def apex_outside(take: Take) -> Take:
    """Put the apex before the onset."""
    return _replace_cells(take, apex=take.rows[0].onset - 1)


def offset_before_onset(take: Take) -> Take:
    """Put the offset before the onset, as if a digit was lost."""
    return _replace_cells(take, offset=take.rows[0].onset - 1)


def offset_zero(take: Take) -> Take:
    """Set a missing offset to 0, as in spNO.40/e of CAS(ME)^3."""
    return _replace_cells(take, offset=0)


def offset_after_end(take: Take) -> Take:
    """Put the offset after the last frame of the folder."""
    return _replace_cells(take, offset=take.numbers[-1] + 5)


def emotion_outside(take: Take) -> Take:
    """Use an emotion that belongs to none of the paper's classes."""
    outside = take.layout.outside_emotion
    renamed = dataclasses.replace(take, names={**take.names, "emotion": outside})
    return _replace_cells(renamed, emotion=outside)


def subject_number(take: Take) -> Take:
    """Turn a subject such as '006' into the number 6, as a spreadsheet does."""
    return _replace_cells(take, subject=int(take.rows[0].subject))


def row_twice(take: Take) -> Take:
    """Repeat the row."""
    return dataclasses.replace(take, rows=take.rows * 2)


def two_expressions(take: Take) -> Take:
    """Repeat the movement in the same folder, with an annotation row of its own."""
    (row,), shift = take.rows, len(take.frames)
    return dataclasses.replace(
        take,
        rows=(row, _shift_row(row, shift)),
        frames=np.concatenate([take.frames, take.frames]),
        numbers=take.numbers + tuple(number + shift for number in take.numbers),
    )


def folder_missing(take: Take) -> Take:
    """Leave out the folder of the row."""
    return dataclasses.replace(take, frames=take.frames[:0], numbers=())


def letter_case(take: Take) -> Take:
    """Write the clip's name in capitals in the sheet alone, as a 'J' in CAS(ME)^3."""
    return _replace_cells(take, clip=take.names["clip"].upper())


def not_micro(take: Take) -> Take:
    """Move the clip beside the micro-expressions, as in SMIC's folder `non_micro`.

    The clips in that folder show no expression at all.
    """
    folders = {
        release: folder.replace("/micro/{emotion}/", "/non_micro/")
        for release, folder in take.layout.folders.items()
    }
    return dataclasses.replace(take, layout=dataclasses.replace(take.layout, folders=folders))


def padding(take: Take) -> Take:
    """Pad the frame numbers with zeros; remove the zeros if other clips have them."""
    return dataclasses.replace(take, digits=0 if take.digits else 5)


def more_digits(take: Take) -> Take:
    """Shift the frame numbers so that they grow from five digits to six, unpadded."""
    shift = 100_000 - len(take.numbers) // 2 - take.numbers[0]
    rows = tuple(_shift_row(row, shift) for row in take.rows)
    numbers = tuple(number + shift for number in take.numbers)
    return dataclasses.replace(take, rows=rows, numbers=numbers, digits=0)


def gap(take: Take) -> Take:
    """Remove frames between apex and offset, as if the camera dropped them."""
    (row,) = take.rows
    apex = int(row.apex)
    dropped = range(apex + 1, apex + 1 + min(LONGEST_GAP, (row.offset - apex) // 2))
    kept_indices = [index for index, number in enumerate(take.numbers) if number not in dropped]
    numbers = tuple(take.numbers[index] for index in kept_indices)
    return dataclasses.replace(take, frames=take.frames[kept_indices], numbers=numbers)


def stray_files(take: Take) -> Take:
    """Add files that file managers leave in folders; one looks like a frame."""
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
    """Return the traps that a database of this layout can have, by name."""
    traps: dict[str, Trap] = {**_IN_FOLDERS, **(_IN_SHEETS if layout.sheet else {})}
    if layout.outside_emotion:
        traps["emotion_outside"] = emotion_outside
    if layout.names(0, 0, "")["cell"].isdigit():
        traps["subject_number"] = subject_number
    if layout.clip == "{letter}":
        traps["letter_case"] = letter_case
    if "/micro/" in layout.folders["raw"]:
        traps["not_micro"] = not_micro
    return traps


def _replace_cells(take: Take, **cells: str | int) -> Take:
    """Replace cells in the only row of a clip."""
    (row,) = take.rows
    return dataclasses.replace(take, rows=(dataclasses.replace(row, **cells),))


def _shift_row(row: Row, frames: int) -> Row:
    """Move the marks of a row later by a number of frames."""
    return dataclasses.replace(
        row, onset=row.onset + frames, apex=int(row.apex) + frames, offset=row.offset + frames
    )
