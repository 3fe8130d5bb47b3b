"""What every reader does with a release in which everything that goes wrong goes wrong once."""

import csv
import functools
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from ml_collections import ConfigDict

from data_prep.common.errors import UserError
from data_prep.datasets import registry
from data_prep.datasets.base.about import database_info
from data_prep.datasets.base.source import listing
from data_prep.synthetic.release import tree as release_tree
from data_prep.synthetic.release.layouts import LAYOUTS, Layout
from data_prep.synthetic.release.sheets import break_sheet
from data_prep.video import pictures

WITH_A_SHEET = [name for name in LAYOUTS if LAYOUTS[name].sheet]
CROPPED = [name for name in LAYOUTS if "cropped" in LAYOUTS[name].folders]
RELEASES = [(name, "raw") for name in LAYOUTS] + [(name, "cropped") for name in CROPPED]
MAPS = [(name, chosen) for name in LAYOUTS for chosen in database_info(name).classes]

IMPOSSIBLE = ("row", "the onset is not before the offset")
UNMARKED = ("apex", "no apex is marked")
# Trap -> field and reason that are reported; None for what is read as if nothing were odd.
TOLD = {
    "apex_missing": UNMARKED,
    "apex_outside": ("apex", "not between onset and offset"),
    "offset_before_onset": IMPOSSIBLE,
    "offset_zero": IMPOSSIBLE,
    "offset_after_end": ("offset", "no such frame; the nearest is used"),
    "row_twice": ("row", "the row occurs twice"),
    "emotion_outside": ("row", "emotion {outside!r} is outside the classes in use"),
    "folder_missing": ("row", "its folder of frames is absent"),
    "apex_at_onset": ("apex", "equals the onset; used as stated"),
    "two_expressions": None,
    "letter_case": None,
    "subject_number": None,
    "not_micro": None,
    "padding": None,
    "more_digits": None,
    "gap": None,
    "stray_files": None,
}
LOST = ("offset_before_onset", "offset_zero", "folder_missing", "not_micro")


@dataclass(frozen=True)
class Tree:
    """A release with traps."""

    name: str
    root: Path
    planted: release_tree.TreeContents

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.name]

    def source(self, **data):
        return source(self.name, self.root, **data)

    def emotions(self):
        """Clip -> the emotion that it shows, of all clips that can be used."""
        shown = dict(self.planted.clips)
        for trap, clips in self.planted.traps.items():
            if trap not in LOST:
                shown |= {clip: self.emotion(clip) for clip in clips}
        return shown

    def emotion(self, name):
        rows = self.rows(name)
        return rows[0]["emotion"] if rows else self.folder(name, "raw").parent.name

    def expressions(self, name):
        """Name of an entry -> its row, of the one or two expressions of a clip."""
        rows = self.rows(name) or [None]
        different = [row for index, row in enumerate(rows) if row not in rows[:index]]
        if len(different) == 1:
            return {name: different[0]}
        return {f"{name}@{row['onset']}": row for row in different if row}

    @functools.cached_property
    def table(self):
        sheets = self.planted.sheets
        return table(sheets[0], self.layout.sheet) if sheets else []

    def rows(self, name):
        """A clip's rows; none without a sheet."""
        _, subject, clip = name.split("/")
        number = int(re.sub(r"\D", "", subject))
        return [
            row
            for row in self.table
            if int(re.sub(r"\D", "", row["subject"])) == number
            and row["clip"].lower() == clip.lower()
        ]

    def folder(self, name, release):
        """Where the layout puts a clip, whatever the reader thinks."""
        _, subject, clip = name.split("/")
        template = self.layout.folders[release]
        names = dict.fromkeys(re.findall(r"{(\w+)", template), "*")
        number = int(re.sub(r"\D", "", subject))
        names |= {"subject": subject, "clip": clip.partition("@")[0], "number": number}
        (folder,) = self.root.glob(template.format(**names))
        return folder


def source(name, root, **data):
    given = {
        "dataset": name,
        "manual_dir": str(root),
        "landmarks_dir": "",
        "classes": "emotion" if name == "folder" else "paper",
        "frames": "auto",
        "sheet": "",
        "corrections": True,
    }
    return registry.source(ConfigDict({"data": given | data}))


def table(path, sheet):
    """The rows of a sheet by field, read without the readers' help."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
    else:
        rows = list(openpyxl.load_workbook(path).worksheets[0].values)[sheet.rows_above_header :]
    header, *rows = [["" if cell is None else str(cell) for cell in row] for row in rows]
    fields = [field(title) for title in header]
    return [dict(zip(fields, row, strict=True)) for row in rows]


def field(title):
    """What a column is about: `Onset Frame`, `OnsetFrame` and `onset` are the onset."""
    word = title.lower().replace(" ", "").removesuffix("frame").removeprefix("estimated")
    return {"filename": "clip", "label": "emotion"}.get(word, word)


def numbered(folder):
    """The frames of a folder by their numbers."""
    files = [path for path in folder.iterdir() if re.fullmatch(r"[^.].*\.(jpg|bmp|png)", path.name)]
    return {int(re.findall(r"\d+", path.stem)[-1]): path for path in files}


def marks(row, files):
    """The numbers of the frames that a row means: onset, apex or None, offset."""
    if row is None:
        return min(files), None, max(files)
    onset, offset = int(row["onset"]), min(int(row["offset"]), max(files))
    apex = int(row["apex"]) if row["apex"] != "/" else -1
    return onset, apex if onset <= apex <= offset else None, offset


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Makes each database's tree once."""

    @functools.cache
    def make(name):
        root = tmp_path_factory.mktemp(name) / "release"
        how = {"subjects": 2, "clips": 2, "size": 64, "traps": True}
        release = "both" if name in CROPPED else "raw"
        return Tree(name, root, release_tree.write(name, root, release=release, **how))

    return make


@pytest.fixture(scope="session", params=LAYOUTS)
def tree(request, made):
    return made(request.param)


def test_every_trap_is_told_and_nothing_else(tree):
    read = tree.source()
    entries = read.entries()
    expected = [
        (clip, field, reason.format(outside=tree.layout.outside_emotion))
        for trap, clips in tree.planted.traps.items()
        for field, reason in filter(None, [TOLD[trap]])
        for clip in clips
    ]
    if not tree.layout.sheet:
        expected += [(entry.name, *UNMARKED) for entry in entries]
    told = [(repair.clip, repair.field, repair.reason) for repair in listing(read).repairs]
    assert sorted(told) == sorted(expected)


def test_every_clip_that_can_be_used_is_there_once_with_its_class(tree):
    labels = {word: label for label, words in tree.layout.emotions.items() for word in words}
    expected = [
        (name, emotion, labels[emotion])
        for clip, emotion in tree.emotions().items()
        if emotion in labels
        for name in tree.expressions(clip)
    ]
    read = [(entry.name, entry.row.emotion, entry.label) for entry in tree.source().entries()]
    assert sorted(read) == sorted(expected)
    assert len({name for name, *_ in read}) == len(read)


def test_clips_recur_between_subjects_and_are_told_apart(tree):
    if not tree.planted.repeated_names:
        assert tree.name not in ("casme2", "casme3", "folder")
        return
    entries = {entry.name: entry for entry in tree.source().entries()}
    folders = {entries[name].row.folder for name in tree.planted.repeated_names}
    assert len(folders) == len(tree.planted.repeated_names) > 1


@pytest.mark.parametrize(("name", "release"), RELEASES)
def test_marks_are_on_the_frames_of_the_stated_numbers(name, release, made):
    tree = made(name)
    read = tree.source(frames=release)
    for entry in read.entries():
        files = numbered(tree.folder(entry.name, release))
        row = tree.expressions(entry.name.partition("@")[0])[entry.name]
        clip = read.load(entry)
        for index, number in zip((clip.onset, clip.apex, clip.offset), marks(row, files)):
            if index is None or number is None:
                assert index is number, entry.name
                continue
            expected = pictures.read(files[number])
            assert np.array_equal(clip.frames[index], expected), (entry.name, number)
            beside = clip.frames[index - 1 if index else 1]
            assert not np.array_equal(beside, expected)  # or this test would notice nothing
        assert clip.fps == tree.layout.fps
        assert clip.first + clip.onset == marks(row, files)[0]


@pytest.mark.parametrize("name", CROPPED)
def test_raw_and_cropped_frames_give_the_same_clips(name, made):
    tree = made(name)
    listed = {}
    for frames in ("raw", "cropped", "auto"):
        read = tree.source(frames=frames)
        entries = [(entry.name, entry.label, entry.marks) for entry in read.entries()]
        listed[frames] = entries, listing(read).facts["frames"]
    assert listed["raw"][0] == listed["cropped"][0]
    assert listed["raw"][1] != listed["cropped"][1]
    assert listed["auto"] == listed["raw"]


@pytest.mark.parametrize(("name", "chosen"), MAPS)
def test_class_maps_hold_each_emotion_once_and_sort_the_clips(name, chosen, made):
    classes = database_info(name).classes[chosen]
    words = [word for words in classes.values() for word in words]
    assert len({*words}) == len(words)
    assert words == [word.lower() for word in words]
    tree = made(name)
    read = tree.source(classes=chosen)
    assert read.class_names == tuple(classes)
    expected = {
        entry: next(label for label, words in classes.items() if emotion.lower() in words)
        for clip, emotion in tree.emotions().items()
        if emotion.lower() in words
        for entry in tree.expressions(clip)
    }
    assert {entry.name: entry.label for entry in read.entries()} == expected


def test_landmarks_are_those_of_the_clip(tree):
    folder = tree.root / "landmarks"
    read = tree.source(landmarks_dir=str(folder))
    for entry in read.entries():
        _, subject, clip = entry.name.split("/")
        points = np.loadtxt(folder / subject / f"{clip.partition('@')[0]}.csv", delimiter=",")
        np.testing.assert_allclose(read.load(entry).landmarks, points, rtol=1e-6)


def test_keys_stay_and_all_travels_to_other_processes(tree):
    read = tree.source()
    entries = read.entries()
    again = tree.source().entries()
    assert again == entries
    assert len({entry.key for entry in entries}) == len(entries)
    there, copies = pickle.loads(pickle.dumps((read, entries)))
    assert copies == entries
    clip = there.load(copies[-1])
    assert np.array_equal(clip.frames[clip.onset], read.load(entries[-1]).frames[clip.onset])


@pytest.mark.parametrize("name", WITH_A_SHEET)
def test_sheet_that_is_broken_is_named_and_so_are_the_frames(name, tmp_path, made):
    tree = made(name)
    for path in tree.root.iterdir():
        if path.is_dir():
            (tmp_path / path.name).symlink_to(path)
    sheet = tmp_path / tree.planted.sheets[0].name
    shutil.copy(tree.planted.sheets[0], sheet)
    if sheet.suffix == ".xlsx":  # half a .csv is a shorter one
        break_sheet(sheet)
        with pytest.raises(UserError, match=rf"{re.escape(sheet.name)}: not a readable"):
            source(name, tmp_path).entries()
    sheet.unlink()
    with pytest.raises(UserError, match="holds no sheet"):
        source(name, tmp_path).entries()


def test_composite_is_its_parts(made, tmp_path):
    megc = {"classes": "megc2019"}
    roots = {name: str(made(name).root) for name in release_tree.COMPOSITE}
    read = source("composite", "", parts=roots, **megc)
    alone = [made(name).source(**megc) for name in roots]
    assert read.entries() == [entry for part in alone for entry in part.entries()]
    told = [repair for part in alone for repair in listing(part).repairs]
    assert list(listing(read).repairs) == told
    for name, root in roots.items():
        (tmp_path / name.upper()).symlink_to(root)
    below = source("composite", tmp_path, parts=dict.fromkeys(roots, ""), **megc)
    assert [entry.name for entry in below.entries()] == [entry.name for entry in read.entries()]
    for entry in read.entries()[:: len(read.entries()) - 1]:
        assert read.load(entry).name == entry.name
