"""`--check`: what is said of a release that is whole, and of one in which everything is missing."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from data_prep import config as configs
from data_prep.common.errors import UserError
from data_prep.pipeline import release_check
from helpers.releases import SAMM_HEADER, casme2, draw, samm_row, sheet, smic

__all__ = ["casme2", "smic"]  # fixtures


def config(dataset, root, landmarks_dir="", **data):
    given = {
        "dataset": dataset,
        "manual_dir": str(root),
        "landmarks_dir": str(landmarks_dir),
        "classes": "paper",
        "frames": "auto",
        "sheet": "",
        "corrections": True,
        "data_dir": "nowhere",
        "workers": 1,
        "cache": "stages",
        "preview": 0,
    }
    prep = configs.recipe()
    prep.face.points = "box"
    return ConfigDict({"data": given | data, "prep": prep, "synthetic": configs.synthetic()})


def told(config):
    """What is said, in one line, and whether the release can be used."""
    said, refusal = [], ""
    try:
        release_check.check(config, said.append)
    except UserError as error:
        refusal = str(error)
    lines = "\n".join(said).splitlines()
    for line in lines:
        assert len(re.sub(r"/\S{20,}", "/path", line)) <= 79, line
    return re.sub(r"\s+", " ", " ".join([*lines, refusal])).strip(), not refusal


@pytest.fixture
def samm(tmp_path):
    """Six clips without a fault: (folder of the release, names of the clips)."""
    root, rows = tmp_path / "SAMM", []
    for subject in ("006", "007"):
        for count in (1, 2, 3):
            first = "Anger" if subject == "006" else "Happiness"
            clip, emotion = f"{subject}_1_{count}", (first, "Surprise", "Other")[count - 1]
            names = [f"{subject}_{number:05d}.png" for number in range(8)]
            draw(root / subject / clip, names, shape=(40, 50))
            rows.append(samm_row(subject, clip, 1, 3, 6, emotion))
    sheet(root / "SAMM_Micro_FACS_Codes_v2.xlsx", SAMM_HEADER, rows, above=13)
    return root


def test_whole_release_is_counted_beside_what_is_stated_and_nothing_is_written(samm, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    said, good = told(config("samm", samm))
    assert good
    assert f"folder {samm}" in said
    assert "sheet SAMM_Micro_FACS_Codes_v2.xlsx" in said
    assert "class clips subjects stated negative 1 1 92 positive 1 1 26 surprise 2 2 15" in said
    assert "all 6 2 159 stated: section 4.1 of the paper" in said
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("nowhere").exists()


def test_all_that_is_wrong_with_clips_is_told_at_once(samm, tmp_path):
    points = tmp_path / "points"
    for clip in samm.glob("*/*/"):
        (points / clip.parent.name).mkdir(parents=True, exist_ok=True)
        np.savetxt(points / clip.parent.name / f"{clip.name}.csv", np.ones((68, 2)), delimiter=",")
    assert told(config("samm", samm, points))[1]
    (points / "006" / "006_1_2.csv").unlink()
    one, _, three = sorted(samm.glob("006/*/"))
    (one / "006_00004.png").write_bytes(b"")
    (one / "006_00005.png").write_bytes(b"version https://git-lfs")
    (three / "006_00003.png").unlink()
    (three / "006_00003.png").symlink_to(tmp_path / "not fetched.png")
    first, second, third = sorted(samm.glob("007/*/"))
    whole = (first / "007_00000.png").read_bytes()
    (first / "007_00000.png").write_bytes(b"x" * len(whole))  # the first one is read anyway
    (second / "007_00002.png").unlink()
    third.rename(samm / "007" / "misspelt")
    said, good = told(config("samm", samm, points))
    assert not good
    missing = said.partition("Missing or damaged: clips what ")[2].partition("Incomplete, but")[0]
    assert "1 cannot be opened (No such file or directory)" in missing
    assert ": 006/006_1_3 (006_00003.png)" in missing
    assert "1 no landmarks can be read (No such file or directory)" in missing
    assert ": 006/006_1_2 (006_1_2.csv)" in missing
    assert "2 not a readable picture" in missing
    assert ": 006/006_1_1 (006_00005.png), 007/007_1_1 (007_00000.png)" in missing
    assert "1 the file is empty" in missing
    assert ": 006/006_1_1 (006_00004.png)" in missing
    assert "1 numbers of frames are absent between others: 007/007_1_2 (1)" in said
    assert "1 folder: no row of the sheet names it: 007/misspelt" in said
    assert "1 left out: its folder of frames is absent: 007/007_1_3" in said


def test_clip_with_many_damaged_files_is_named_once(samm):
    one, two, _ = sorted(samm.glob("006/*/"))
    for number in (1, 4, 7):
        (one / f"006_{number:05d}.png").write_bytes(b"")
    (two / "006_00000.png").write_bytes(b"")
    said, good = told(config("samm", samm))
    assert not good
    assert "2 the file is empty" in said
    assert ": 006/006_1_1 (006_00001.png and 2 more), 006/006_1_2 (006_00000.png)" in said


def test_repairs_and_rows_that_are_left_out_do_not_keep_a_release_from_use(samm):
    rows = [
        samm_row("006", "006_1_1", 1, "/", 6, "Anger"),
        samm_row("006", "006_1_2", 1, 3, 60, "Other"),
        samm_row("007", "007_1_1", 1, 3, 6, "Happiness"),
        samm_row("007", "007_1_2", 1, 3, 6, "Surprise"),
        samm_row("006", "006_1_9", 1, 3, 6, "Other"),
    ]
    sheet(samm / "SAMM_Micro_FACS_Codes_v2.xlsx", SAMM_HEADER, rows)
    said, good = told(config("samm", samm))
    assert good
    assert "1 apex: no apex is marked: 006/006_1_1" in said
    assert "1 offset: no such frame; the nearest is used: 006/006_1_2" in said
    assert "2 folder: no row of the sheet names it: 006/006_1_3, 007/007_1_3" in said
    assert said.endswith("The release can be used as it is (rows left out: 1).")
    sheet(samm / "SAMM_Micro_FACS_Codes_v2.xlsx", SAMM_HEADER, rows[4:])
    for clip in samm.glob("006/*/"):
        clip.rename(samm / "007" / clip.name)
    (samm / "006" / "006_1_9").mkdir()
    said, good = told(config("samm", samm))
    assert not good
    assert "Missing: no clip can be used." in said


@pytest.mark.parametrize("name", ["smic", "samm", "casme2", "casme3", "mmew", "folder"])
@pytest.mark.parametrize("case", ["unset", "absent", "empty"])
def test_missing_release_and_missing_landmarks_are_told_together(tmp_path, name, case):
    root = {"unset": "", "absent": tmp_path / "nowhere", "empty": tmp_path}[case]
    classes = "emotion" if name == "folder" else "paper"
    said, good = told(config(name, root, tmp_path / "no points", classes=classes))
    assert not good
    assert "landmarks: missing" in said
    assert f"{tmp_path / 'no points'}: no such folder" in said
    assert f"{name}: missing" in said
    assert "manual_dir" in said
    assert str(root) in said


def test_sheet_and_frames_are_missed_together_and_alone(samm):
    (samm / "SAMM_Micro_FACS_Codes_v2.xlsx").rename(samm / "kept.xlsx")
    assert f"frames of 6 clips are in {samm}" in told(config("samm", samm))[0]
    for clip in samm.glob("00*/*/*"):
        clip.unlink()
    assert "there is no folder of frames either" in told(config("samm", samm))[0]
    (samm / "kept.xlsx").rename(samm / "SAMM_Micro_FACS_Codes_v2.xlsx")
    assert "left out" in told(config("samm", samm))[0]


def test_detector_that_is_not_installed_is_missed_where_it_is_needed(samm, tmp_path):
    asked = config("samm", samm)
    asked.prep.face.points = "auto"
    asked.prep.face.model = str(tmp_path / "none.dat")
    said, good = told(asked)
    assert not good
    assert "landmarks: missing" in said
    assert "Fix" in said
    assert "all 6 2 159" in said


def test_every_part_of_the_composite_is_checked(samm, casme2, tmp_path):
    parts = {"smic": str(tmp_path / "nowhere"), "samm": str(samm), "casme2": str(casme2)}
    asked = config("composite", "", classes="megc2019", parts=parts)
    said, good = told(asked)
    assert not good
    assert "smic: missing" in said
    assert f"there is no folder {tmp_path / 'nowhere'}" in said
    assert f"casme2 folder {casme2}" in said
    assert f"samm folder {samm}" in said
    said, _ = told(config("composite", "", tmp_path / "none", classes="megc2019", parts=parts))
    assert said.count("none: no such folder") == 1
    assert f"samm folder {samm}" in said
    asked.data.classes = "paper"
    with pytest.raises(UserError, match="different classes"):
        release_check.check(asked)


def test_release_without_a_sheet(smic):
    said, good = told(config("smic", smic))
    assert not good
    assert "prepared but not trained on: no clip of class positive" in said
    assert "frames SMIC/HS" in said
    assert "2 apex: no apex is marked: s01/s1_ne_01, s03/s3_sur_02" in said


def test_synthetic_clips_need_nothing():
    said, good = told(config("synthetic", ""))
    assert good
    assert "all 64 8 The release can be used as it is." in said


def run(*flags):
    """The command's status, output and error."""
    command = [sys.executable, "-m", "data_prep", "--config=configs/samm.py", "--check", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_command_ends_with_0_or_2(samm):
    box = "--config.prep.face.points=box"
    status, out, err = run(f"--config.data.manual_dir={samm}", box)
    assert (status, err) == (0, "")
    assert out.endswith("The release can be used as it is.\n")
    (samm / "006" / "006_1_1" / "006_00000.png").write_bytes(b"")
    status, out, err = run(f"--config.data.manual_dir={samm}", box)
    assert status == 2
    assert "006/006_1_1 (006_00000.png)" in re.sub(r"\s+", " ", out)
    assert "The release cannot be used as it is" in err


@pytest.mark.parametrize("flag", ["--preview", "--tfrecord=there", "--video=face.mp4"])
def test_command_refuses_what_would_prepare_something(flag):
    status, _, err = run(flag)
    assert status == 2
    assert f"drop {flag.partition('=')[0]}." in err
