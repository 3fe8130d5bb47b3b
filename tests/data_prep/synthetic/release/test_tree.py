"""Synthetic trees hold what they claim, read back with nothing of this project's readers."""

import csv
import functools
import hashlib
import re
import zipfile
from typing import Any

import numpy as np
import openpyxl
import pytest

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.stages import landmarks
from data_prep.synthetic.clips import Entry, Spec, SyntheticSource
from data_prep.synthetic.release import __main__ as command_line
from data_prep.synthetic.release import tree as release_tree
from data_prep.synthetic.release.layouts import LAYOUTS
from data_prep.synthetic.release.sheets import break_sheet

SHEETS = {
    "samm": (
        "SAMM_Micro_FACS_Codes_v2.xlsx",
        "Subject|Filename|Inducement Code|Onset Frame|Apex Frame|Offset Frame|Duration|Micro|"
        "Action Units|Estimated Emotion|Objective Classes|Notes",
    ),
    "casme2": (
        "CASME2-coding-20140508.xlsx",
        "Subject|Filename||OnsetFrame|ApexFrame|OffsetFrame||Action Units|Estimated Emotion",
    ),
    "casme3": (
        "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        "Subject|Filename|Onset|Apex|Offset|AU|Objective class|emotion",
    ),
    "mmew": (
        "MMEW_Micro_Exp.xlsx",
        "Subject|Filename|OnsetFrame|ApexFrame|OffsetFrame|Action Units|Estimated Emotion|remarks",
    ),
}
# Folder of a clip, its frames' names, and the camera's rate.
FRAMES = {
    "smic": ("SMIC_all_raw/HS/s{n}/micro/*/{clip}", r"image\d{6}\.bmp", 100),
    "samm": ("SAMM/{subject}/{clip}", r"00\d_\d{5}\.jpg", 200),
    "casme2": ("CASME2_RAW_selected/{subject}/{clip}", r"img[1-9]\d*\.jpg", 200),
    "casme3": ("part_A/{subject}/{clip}/color", r"[1-9]\d*\.jpg", 30),
    "mmew": ("Micro_Expression/*/{clip}", r"[1-9]\d*\.jpg", 90),
    "folder": ("{subject}/{clip}", r"\d{4}\.png", 100),
}
IN_SHEET = {
    *("apex_missing", "apex_at_onset", "apex_outside", "offset_before_onset", "offset_zero"),
    *("offset_after_end", "row_twice", "two_expressions", "folder_missing"),
}
IN_FOLDER = {"padding", "more_digits", "gap", "stray_files"}
SMALL: dict[str, Any] = {"subjects": 3, "clips": 3, "size": 64}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Trees by layout with all traps, drawn when first asked for."""

    @functools.cache
    def tree(layout):
        out = tmp_path_factory.mktemp("trees") / layout
        return out, release_tree.write(layout, out, traps=True, **SMALL)

    return tree


def frames_of(out, name):
    """The folder of a clip, and its files by number; none where there is no folder."""
    layout, subject, clip = name.split("/")
    number = int(re.findall(r"\d+", subject)[-1])
    pattern = FRAMES[layout][0].format(subject=subject, clip=clip, n=number)
    folders = list(out.glob(pattern))
    assert len(folders) < 2
    files = sorted(folders[0].iterdir()) if folders else []
    pictures = [path for path in files if path.suffix in (".jpg", ".bmp", ".png")]
    whole = [path for path in pictures if not path.name.startswith("._")]
    return files, {int(re.findall(r"\d+", path.stem)[-1]): path for path in whole}


def picture(path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def cells_of(path) -> list[tuple[Any, ...]]:
    return list(openpyxl.load_workbook(path).worksheets[0].values)


def table(out, layout) -> list[tuple[Any, ...]]:
    """The sheet's rows as (subject cell, clip, onset, apex, offset, emotion)."""
    if layout == "folder":
        with open(out / "labels.csv", newline="", encoding="utf-8") as file:
            return [labelled(row) for row in csv.DictReader(file)]
    name, header = SHEETS[layout]
    rows = cells_of(out / name)
    below = rows[rows.index(tuple(title or None for title in header.split("|"))) + 1 :]
    titles = header.lower().split("|")
    wanted = ("subject", "filename", "onset", "apex", "offset", "emotion")
    at = [next(i for i, title in enumerate(titles) if word in title) for word in wanted]
    return [tuple(row[column] for column in at) for row in below]


def labelled(row):
    marks = [row[mark] for mark in ("onset", "apex", "offset")]
    marks = [int(mark) if mark.isdigit() else mark for mark in marks]
    return (row["subject"], row["clip"], *marks, row["label"])


def rows_of(out, name):
    """A clip's rows of the sheet: (onset, apex, offset, emotion)."""
    layout, subject, clip = name.split("/")
    number = int(re.findall(r"\d+", subject)[-1])
    return [
        row[2:]
        for row in table(out, layout)
        if int(re.findall(r"\d+", str(row[0]))[-1]) == number and row[1].lower() == clip.lower()
    ]


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


# ------------------------------------------------------------------------------ a tree


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_clip_has_frames_landmarks_and_marks(trees, layout):
    out, planted = trees(layout)
    assert len(planted.clips) == 9
    for name in planted.clips:
        files, frames = frames_of(out, name)
        assert len(files) == len(frames), name
        assert all(re.fullmatch(FRAMES[layout][1], path.name) for path in files), name
        assert sorted(frames) == list(range(min(frames), max(frames) + 1))
        assert picture(files[0]).shape == ((64, 64) if layout == "samm" else (64, 64, 3))
        points = landmarks.read(out / "landmarks" / f"{name.partition('/')[2]}.csv", 0)
        assert ((points > 0) & (points < 63)).all()


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "smic"])
def test_marks_of_the_sheet_are_frames_and_last_as_long_as_a_micro_expression(trees, layout):
    out, planted = trees(layout)
    for name, emotion in planted.clips.items():
        ((onset, apex, offset, stated),) = rows_of(out, name)
        _, frames = frames_of(out, name)
        assert onset < apex < offset
        assert {onset, apex, offset} <= {*frames}
        assert 0.2 <= (offset - onset + 0.5) / FRAMES[layout][2] <= 0.52
        assert stated == emotion


@pytest.mark.parametrize("layout", SHEETS)
def test_sheets_have_the_columns_of_the_release(trees, layout):
    out, planted = trees(layout)
    name, header = SHEETS[layout]
    assert planted.sheets == (out / name,)
    rows = cells_of(out / name)
    above = 13 if layout == "samm" else 0
    assert [title or "" for title in rows[above]] == header.split("|")
    assert all(row[0].startswith("Explanation") for row in rows[:above])


def test_subjects_are_text_as_their_folders_are_called(trees):
    cells = {
        layout: {row[0] for row in table(trees(layout)[0], layout) if isinstance(row[0], str)}
        for layout in SHEETS
    }
    assert cells == {
        "samm": {"006", "007", "008"},
        "casme2": {"01", "02", "03"},
        "casme3": {"spNO.1", "spNO.2", "spNO.3"},
        "mmew": {"S01", "S02", "S03"},
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_class_occurs_in_two_subjects_and_more(trees, layout):
    _, planted = trees(layout)
    subjects = {label: set() for label in LAYOUTS[layout].emotions}
    for name, emotion in planted.clips.items():
        (label,) = (key for key, words in LAYOUTS[layout].emotions.items() if emotion in words)
        subjects[label].add(name.split("/")[1])
    assert all(len(people) >= 2 for people in subjects.values())


def test_frames_are_those_of_the_synthetic_clip_of_that_class(trees):
    out, planted = trees("smic")
    layout = LAYOUTS["smic"]
    spec = Spec(0, 3, 3, 64, layout.fps, (0.3, 3.0))
    for subject in (0, 2):
        name, emotion = list(planted.clips.items())[3 * subject + 1]
        clip = SyntheticSource(spec).load(Entry(spec, layout.first_person + subject, 1, emotion))
        _, frames = frames_of(out, name)
        shown = [picture(frames[number])[..., ::-1] for number in sorted(frames)]
        np.testing.assert_array_equal(shown, np.asarray(clip.frames)[clip.onset : clip.offset + 1])


def test_names_recur_where_they_do_in_the_release(trees):
    recurring = {layout: len(trees(layout)[1].repeated_names) for layout in LAYOUTS}
    assert recurring == {"smic": 0, "samm": 0, "casme2": 9, "casme3": 9, "mmew": 0, "folder": 9}


def test_cropped_frames_are_the_face_s_part_of_the_whole_ones(tmp_path):
    planted = release_tree.write("smic", tmp_path, subjects=1, clips=2, size=64, release="both")
    for name in planted.clips:
        points = name.partition("/")[2] + ".csv"
        whole = landmarks.read(tmp_path / "landmarks" / points, 0)
        cropped = landmarks.read(tmp_path / "landmarks_cropped" / points, 0)
        left, top = np.rint((whole - cropped)[0]).astype(int)
        np.testing.assert_allclose(whole - cropped, [(left, top)] * 68, atol=0.01)
        for number, path in frames_of(tmp_path, name)[1].items():
            pattern = f"SMIC_all_cropped/HS/s1/micro/*/*/reg_image{number:06d}.bmp"
            parts = [
                part for part in tmp_path.glob(pattern) if part.parent.name == path.parent.name
            ]
            part, frame = picture(parts[0]), picture(path)
            height, width = part.shape[:2]
            np.testing.assert_array_equal(part, frame[top : top + height, left : left + width])
            assert ((cropped > 0) & (cropped < (width - 1, height - 1))).all()
            assert width < 50


@pytest.mark.parametrize(
    ("layout", "release", "pattern"),
    [
        ("casme2", "cropped", "Cropped/sub01/EP02_01f/reg_img46.jpg"),
        ("casme3", "clips", "Part_A_ME_clip/frame/spNO.1_a_179/175.jpg"),
        ("mmew", "subjects", "S01/anger/S01-01-001/1.jpg"),
    ],
)
def test_other_releases_of_the_same_clips(tmp_path, layout, release, pattern):
    release_tree.write(layout, tmp_path, subjects=1, clips=1, size=64, release=release)
    assert (tmp_path / pattern).is_file()
    assert (tmp_path / "landmarks_cropped").is_dir() == (release == "cropped")


# ------------------------------------------------------------------------------ the same bytes


def test_the_same_bytes_whatever_was_drawn_before(tmp_path, trees):
    first, _ = trees("casme3")
    release_tree.write("casme3", tmp_path / "again", traps=True, **SMALL)
    assert digests(tmp_path / "again") == digests(first)


def test_another_seed_is_another_tree(tmp_path):
    for seed in (0, 1):
        out = tmp_path / str(seed)
        release_tree.write("mmew", out, subjects=1, clips=1, size=64, seed=seed)
    one, other = digests(tmp_path / "0"), digests(tmp_path / "1")
    assert not {*one.values()} & {*other.values()}


def test_workbooks_hold_no_time_of_day(trees):
    (path,) = trees("samm")[1].sheets
    with zipfile.ZipFile(path) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        times = re.findall(rb">(\d{4}-\d\d-\d\dT[^<]*)<", archive.read("docProps/core.xml"))
    assert times
    assert {*times} == {b"2000-01-01T00:00:00Z"}


def test_a_composite_has_the_clips_of_the_single_trees_and_traps_leave_them_as_they_are(
    tmp_path, trees
):
    planted = release_tree.write("composite", tmp_path, subjects=2, clips=1, size=64)
    assert planted.traps == {}
    assert len(planted.clips) == 6
    for layout, title in (("smic", "SMIC"), ("casme2", "CASME2"), ("samm", "SAMM")):
        part, (single, alone) = digests(tmp_path / title), trees(layout)
        assert {path for path in part if path.endswith(".xlsx")} == {
            path.name for path in alone.sheets
        }
        frames = {path: digest for path, digest in part.items() if not path.endswith(".xlsx")}
        assert frames.items() <= digests(single).items()
        assert {name for name in planted.clips if name.startswith(layout)} <= {*alone.clips}
    subjects = {name.split("/")[1] for name in planted.clips}
    assert {path.name for path in (tmp_path / "landmarks").iterdir()} == subjects


# ------------------------------------------------------------------------------ the traps


@pytest.mark.parametrize(
    ("layout", "others"),
    [
        ("smic", {"emotion_outside", "not_micro"}),
        ("samm", {*IN_SHEET, "emotion_outside", "subject_number"}),
        ("casme2", {*IN_SHEET, "emotion_outside", "subject_number"}),
        ("casme3", {*IN_SHEET, "emotion_outside", "letter_case"}),
        ("mmew", {*IN_SHEET, "emotion_outside"}),
        ("folder", IN_SHEET),
    ],
)
def test_a_layout_has_its_traps_each_in_a_clip_of_its_own(trees, layout, others):
    planted = trees(layout)[1]
    assert {*planted.traps} == IN_FOLDER | others
    carriers = [name for names in planted.traps.values() for name in names]
    assert len({*carriers, *planted.clips}) == len(carriers) + len(planted.clips)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_traps_in_folders(trees, layout):
    out, planted = trees(layout)
    carriers = {trap: names[0] for trap, names in planted.traps.items()}

    names = [path.stem for path in frames_of(out, carriers["padding"])[0]]
    digits = [re.findall(r"\d+", name)[-1] for name in names]
    padded = layout in ("smic", "samm", "folder")
    assert any(text.startswith("0") and len(text) > 1 for text in digits) != padded

    numbers = [*frames_of(out, carriers["more_digits"])[1]]
    assert min(numbers) < 99_999
    assert max(numbers) > 100_000
    names = [path.stem for path in frames_of(out, carriers["more_digits"])[0]]
    lengths = {len(re.findall(r"\d+", name)[-1]) for name in names}
    assert lengths == {5, 6}

    numbers = sorted(frames_of(out, carriers["gap"])[1])
    absent = {*range(numbers[0], numbers[-1] + 1)} - {*numbers}
    assert 1 <= len(absent) <= 3

    files, frames = frames_of(out, carriers["stray_files"])
    assert {path.name for path in files} - {path.name for path in frames.values()} == {
        "Thumbs.db",
        ".DS_Store",
        "._img1.jpg",
    }


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "smic"])
def test_traps_in_sheets(trees, layout):
    out, planted = trees(layout)
    carriers = {trap: names[0] for trap, names in planted.traps.items()}

    def marks(trap):
        ((onset, apex, offset, _),) = rows_of(out, carriers[trap])
        return onset, apex, offset, [*frames_of(out, carriers[trap])[1]]

    _, apex, _, _ = marks("apex_missing")
    assert apex == "/"
    onset, apex, _, _ = marks("apex_at_onset")
    assert apex == onset
    onset, apex, _, _ = marks("apex_outside")
    assert apex < onset
    onset, _, offset, _ = marks("offset_before_onset")
    assert 0 < offset < onset
    _, _, offset, _ = marks("offset_zero")
    assert offset == 0
    *_, offset, numbers = marks("offset_after_end")
    assert offset > max(numbers)
    *_, numbers = marks("folder_missing")
    assert not numbers
    onset, apex, offset, numbers = marks("gap")
    assert {onset, apex, offset} <= {*numbers}
    assert len(range(onset, offset + 1)) > len([n for n in numbers if onset <= n <= offset])
    onset, _, offset, numbers = marks("more_digits")
    assert {onset, offset} <= {*numbers}

    assert len(rows_of(out, carriers["row_twice"])) == 2
    assert len({*rows_of(out, carriers["row_twice"])}) == 1

    first, second = rows_of(out, carriers["two_expressions"])
    assert first[2] < second[0]
    assert {*first[:3], *second[:3]} <= {*frames_of(out, carriers["two_expressions"])[1]}


def test_traps_of_some_layouts(trees):
    for layout, word in (("casme2", "fear"), ("samm", "Confusion"), ("mmew", "confusion")):
        out, planted = trees(layout)
        ((*_, stated),) = rows_of(out, planted.traps["emotion_outside"][0])
        assert stated == word
    for layout, number in (("samm", 8), ("casme2", 3)):
        out, planted = trees(layout)
        (name,) = planted.traps["subject_number"]
        cells = [row[0] for row in table(out, layout) if not isinstance(row[0], str)]
        assert cells == [number]
        assert len(rows_of(out, name)) == 1
    out, planted = trees("casme3")
    (name,) = planted.traps["letter_case"]
    assert frames_of(out, name)[1]
    assert name.split("/")[2].upper() in [row[1] for row in table(out, "casme3")]
    out, planted = trees("smic")
    (outside,), (beside,) = planted.traps["emotion_outside"], planted.traps["not_micro"]
    assert list(out.glob(f"SMIC_all_raw/HS/s*/micro/neutral/{outside.split('/')[2]}/*.bmp"))
    assert list(out.glob(f"SMIC_all_raw/HS/s*/non_micro/{beside.split('/')[2]}/*.bmp"))


def test_a_broken_sheet_cannot_be_read(tmp_path):
    planted = release_tree.write("mmew", tmp_path, subjects=1, clips=1, size=64)
    break_sheet(planted.sheets[0])
    with pytest.raises(zipfile.BadZipFile):
        openpyxl.load_workbook(planted.sheets[0])


# ------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "samn"}, "Did you mean 'samm'"),
        ({"layout": "samm", "release": "cropped"}, "release of samm 'cropped'.* One of: raw"),
        ({"layout": "composite", "release": "both"}, "release of composite 'both'.* One of: raw"),
        ({"layout": "casme2", "release": "row"}, "One of: both, cropped, raw"),
        ({"layout": "smic", "size": 10}, "size must be 64"),
        ({"layout": "smic", "clips": 0}, "one clip or more"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(tmp_path, arguments, message):
    out = tmp_path / "tree"
    with pytest.raises(UserError, match=message):
        release_tree.write(**{"out": out, **arguments})
    assert not out.exists()


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "kept.txt"):
        with pytest.raises(UserError, match=rf"{re.escape(str(out))}: it exists"):
            release_tree.write("smic", out)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_the_command_writes_a_tree_without_traps_and_says_how_to_read_it(tmp_path, capsys):
    out = tmp_path / "tree"
    small = ["--subjects=2", "--clips=1", "--size=64"]
    assert command_line.main(["--layout=casme2", f"--out={out}", "--release=cropped", *small]) == 0
    said = capsys.readouterr().out
    assert "2 clips without a trap" in said
    flags = f"--config.data.manual_dir={out} --config.data.landmarks_dir={out}/landmarks_cropped"
    assert f"{flags} --config.data.frames=cropped\n" in said
    assert len(table(out, "casme2")) == 2
    assert command_line.main(["--layout=casme2", f"--out={out}", *small]) == 2
    assert "give another --out" in capsys.readouterr().err


def test_the_command_says_which_landmarks_are_of_which_frames(tmp_path, capsys):
    out = tmp_path / "tree"
    small = ["--subjects=1", "--clips=1", "--size=64"]
    command_line.main(["--layout=smic", f"--out={out}", "--release=both", *small])
    whole, cropped = capsys.readouterr().out.splitlines()[1:]
    assert whole.endswith(f"--config.data.landmarks_dir={out}/landmarks")
    assert cropped.endswith(f"={out}/landmarks_cropped --config.data.frames=cropped")


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "tree"
    assert command_line.main(["--layout=smic", f"--out={out}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{out}: cannot be written (Not a directory).")
    assert "give another --out" in told


def test_the_command_lists_the_traps(tmp_path, capsys):
    out = tmp_path / "tree"
    command = ["--layout=smic", f"--out={out}", "--subjects=1", "--clips=1", "--size=64"]
    assert command_line.main([*command, "--traps"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^gap: smic/s01/s1_\w+$", said, re.MULTILINE)
    assert "1 clips without a trap" in said
