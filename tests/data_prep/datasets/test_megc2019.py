"""MEGC 2019 as images of flow: a drawn tree, every refusal, the set, and the real clone."""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from data_prep import config as configs
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.common.fields import flatten
from data_prep.datasets import registry
from data_prep.pipeline import release_check
from data_prep.pipeline.prepare import prepare
from data_prep.shards import dataset as shards
from data_prep.shards import tfrecord
from data_prep.synthetic.release import __main__ as command_line
from data_prep.synthetic.release import images as synthetic_images
from data_prep.synthetic.release import tree as release_tree

CLASSES = ("negative", "positive", "surprise")
DATABASES = {"smic": (164, 16), "casme2": (145, 24), "samm": (133, 28)}
CLONE = os.environ.get("MSER_MEGC2019", "")
SHEET, IMAGES = "combined_3_class2_for_optical_flow.csv", "datasets/STSNet_whole_norm_u_v_os"


def config(root, **data):
    made = ConfigDict({"data": configs.data("megc2019"), "prep": configs.image_recipe()})
    made.data.update(manual_dir=str(root), **data)
    return made.lock()


def source(root) -> Any:
    return registry.source(config(root))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A tree that no test changes: (its root, what was planted)."""
    root = tmp_path_factory.mktemp("megc2019") / "HTNet"
    return root, release_tree.write("megc2019", root, subjects=2, clips=3, size=64)


@pytest.fixture
def tree(drawn, tmp_path):
    """A copy to be broken."""
    return shutil.copytree(drawn[0], tmp_path / "HTNet")


def rows(root):
    with (root / SHEET).open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(root, change):
    """Write the sheet anew after `change` had its rows."""
    kept = rows(root)
    columns = list(kept[0])
    kept = change(kept) or kept
    with (root / SHEET).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)


def pixels(file):
    """What lies in a file, read without this project's reader: (u, v, strain)."""
    image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image[..., ::-1]


# ----------------------------------------------------------------------------------- reading


def test_drawn_tree_is_read_as_it_was_planted(drawn):
    root, planted = drawn
    read = source(root)
    entries = read.entries()
    assert {entry.name: entry.label for entry in entries} == planted.clips
    assert len(entries) == 3 * 2 * 3
    assert {entry.dataset for entry in entries} == set(DATABASES)
    assert read.class_names == CLASSES
    assert len({entry.key for entry in entries}) == len(entries)
    assert source(root).entries() == entries


def test_files_of_the_tree_are_called_as_in_the_clone(drawn):
    root, _ = drawn
    names = {f"{row['sub']}_{row['filename_o']} .png" for row in rows(root)}
    assert {file.name for file in (root / IMAGES).iterdir()} == names
    assert ",".join(rows(root)[0]) == "dataset,sub,filename_o,label,apex,imagename,sub_filename"
    assert {row["label"] for row in rows(root)} == {"0", "1", "2"}


def test_a_record_holds_the_image_as_stored_and_no_mark(drawn):
    root, _ = drawn
    read = source(root)
    for entry, row in zip(read.entries(), rows(root), strict=True):
        record = read.record(entry)
        stored = pixels(root / IMAGES / f"{row['sub']}_{row['filename_o']} .png")
        np.testing.assert_array_equal(record.pop("image"), stored[None], strict=True)
        assert record == {
            "label": int(row["label"]),
            "emotion": CLASSES[int(row["label"])],
            "subject": row["sub"],
            "clip_id": row["filename_o"],
            "dataset": row["dataset"],
            "notes": "",
        }


@pytest.mark.parametrize("below", ["..", "datasets", IMAGES])
def test_folders_around_the_clone_do_as_well(drawn, below):
    root, planted = drawn
    assert len(source(root / below).entries()) == len(planted.clips)


def test_keys_are_of_the_content_and_not_of_the_place(drawn, tree):
    before = source(drawn[0]).entries()
    after = source(tree).entries()
    assert [entry.key for entry in after] == [entry.key for entry in before]
    first, second = sorted((tree / IMAGES).iterdir())[:2]
    shutil.copy(first, second)
    changed = source(tree).entries()
    assert sum(a.key != b.key for a, b in zip(after, changed, strict=True)) == 1


# ---------------------------------------------------------------------------------- refusals


def refusal(root):
    with pytest.raises(UserError) as caught:
        source(root).entries()
    return str(caught.value)


@pytest.mark.parametrize("root", ["", "/nowhere/at/all"])
def test_without_a_folder_the_repository_and_the_agreements_are_named(root):
    told = refusal(root)
    assert "clone the repository yourself" in told
    assert "wangzhifengharrison/HTNet" in told
    assert "signed\nagreements" in told
    assert "--config.data.manual_dir=/path/to/HTNet" in told


def test_a_folder_of_something_else_is_told(tmp_path):
    assert f"There is no folder STSNet_whole_norm_u_v_os in {tmp_path}" in refusal(tmp_path)


def test_a_missing_sheet_is_named(tree):
    (tree / SHEET).unlink()
    assert f"{tree / SHEET} is missing" in refusal(tree)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "it is missing"),
        (b"", "the file is empty"),
        (b"no picture", "not a readable picture"),
        (
            np.zeros((28, 27, 3), np.uint8),
            "27 x 28 colour, uint8; it must be 28 x 28 colour, uint8",
        ),
        (np.zeros((28, 28), np.uint8), "28 x 28 grey, uint8; it must be"),
        (np.zeros((28, 28, 3), np.uint16), "28 x 28 colour, float32; it must be"),
    ],
)
def test_an_image_that_cannot_be_used_is_named(tree, content, what):
    file = sorted((tree / IMAGES).iterdir())[0]
    if isinstance(content, np.ndarray):
        content = cv2.imencode(".png", content)[1].tobytes()
    file.unlink() if content is None else file.write_bytes(content)
    told = refusal(tree)
    assert f"{file}: {what}" in told
    assert "Fix: take the files as the repository has them" in told
    assert "a blank before .png" in told


def test_half_an_image_is_named(tree):
    file = sorted((tree / IMAGES).iterdir())[0]
    file.write_bytes(file.read_bytes()[:-40])
    assert f"{file}: not a readable picture" in refusal(tree)


def test_images_that_are_missing_are_told_at_once(tree):
    for file in sorted((tree / IMAGES).iterdir())[:12]:
        file.unlink()
    told = refusal(tree)
    assert told.count("it is missing") == 10
    assert "and 2 more" in told


def set_cell(column, value, row=1):
    def change(kept):
        kept[row][column] = value

    return change


def swap_case(kept):
    kept[1]["sub"] = kept[1]["sub"].upper()


def twice(kept):
    kept.append(kept[0])


def two_classes(kept):
    kept.append(kept[0] | {"label": str(1 - min(1, int(kept[0]["label"])))})


def in_two_databases(kept):
    kept.append(kept[0] | {"dataset": "samm"})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (set_cell("label", "3"), "line 3: label is '3'; it must be 0 (negative), 1"),
        (set_cell("label", ""), "line 3: label is ''; it must be 0"),
        (set_cell("label", "1.5"), "line 3: label is '1.5'"),
        (
            set_cell("dataset", "smics"),
            "line 3: dataset is 'smics'; it must be one of smic, casme2",
        ),
        (set_cell("sub", ""), "line 3: '' cannot name a subject or a clip"),
        (set_cell("filename_o", "../x"), "line 3: '../x' cannot name a subject or a clip"),
        (twice, "is listed twice, for smic/s01/s1_ne_01"),
        (two_classes, "is listed twice, for smic/s01/s1_ne_01"),
        (in_two_databases, "is listed twice, for smic/s01/s1_ne_01 and samm/s01/s1_ne_01"),
        (swap_case, "smic has one subject in two spellings, s01 and S01"),
        (set_cell("sub", "s1"), "smic has one subject in two spellings, s01 and s1"),
        (set_cell("sub", "01"), "smic has one subject in two spellings, s01 and 01"),
    ],
)
def test_a_sheet_that_cannot_be_used_is_named(tree, change, what):
    rewrite(tree, change)
    told = refusal(tree)
    assert told.startswith(f"{tree / SHEET}: ")
    assert what in told
    assert "Fix: take the files as the repository has them" in told


@pytest.mark.parametrize("text", ["", "dataset,sub,filename_o,label\n", "dataset,sub,filename_o\n"])
def test_a_sheet_without_rows_or_columns_is_named(tree, text):
    (tree / SHEET).write_text(text)
    told = refusal(tree)
    assert told.startswith(f"{tree / SHEET}: ")
    assert "take the files as the repository has them" in told


# ---------------------------------------------------------------------------------- counts


def full_tree(root, drop=()):
    """A sheet of as many clips as the challenge has, whose images are all the same."""
    stated = {"smic": (70, 51, 43), "casme2": (88, 32, 25), "samm": (92, 26, 15)}
    template = {"smic": "s{:02d}", "casme2": "sub{:02d}", "samm": "{:03d}"}
    (root / IMAGES).mkdir(parents=True)
    encoded = cv2.imencode(".png", np.zeros((28, 28, 3), np.uint8))[1].tobytes()
    lines: list[tuple] = [synthetic_images.COLUMNS]
    for name, counts in stated.items():
        for number, label in enumerate(np.repeat(range(3), counts)):
            subject = template[name].format(1 + number % DATABASES[name][1])
            if (name, subject) not in drop:
                (root / IMAGES / f"{subject}_{name}{number} .png").write_bytes(encoded)
                lines.append((name, subject, f"{name}{number}", label, "", "", ""))
    with (root / SHEET).open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return root


def test_the_challenge_s_numbers_are_no_deviation(tmp_path):
    read = source(full_tree(tmp_path))
    assert len(read.entries()) == 442
    assert read.listing.deviation == ""
    assert sum(read.listing.stated.values()) == 442
    assert read.listing.facts["samm"] == "133 clips of 28 subjects"


def test_other_numbers_are_told_by_database(tmp_path):
    read = source(full_tree(tmp_path, drop={("samm", "005")}))
    read.entries()
    told = read.listing.deviation
    assert "437 clips, where MEGC 2019 (See et al. 2019) states 442" in told
    assert "samm/negative 88 (92), samm/positive 25 (26)." in told
    assert "It has 67 subjects, where MEGC 2019 (See et al. 2019) states 68" in told
    assert "samm 27 (28)." in told
    stated = "(stated: 133 clips of 28 subjects)"
    assert read.listing.facts["samm"] == f"128 clips of 27 subjects {stated}"


def test_another_number_of_subjects_alone_is_told(tmp_path):
    root = full_tree(tmp_path)

    def rename(kept):
        for row in kept:
            if row["dataset"] == "smic" and row["sub"] == "s02":
                old = root / IMAGES / f"s02_{row['filename_o']} .png"
                old.rename(root / IMAGES / f"s01_{row['filename_o']} .png")
                row["sub"] = "s01"

    rewrite(root, rename)
    read = source(root)
    assert len(read.entries()) == 442
    expected = "67 subjects, where MEGC 2019 (See et al. 2019) states 68. Found (stated): "
    assert read.listing.deviation == f"{expected}smic 15 (16)."


def test_an_image_in_no_row_is_told(tree):
    rewrite(tree, lambda kept: kept[1:])
    read = source(tree)
    read.entries()
    (repair,) = read.listing.repairs
    assert (repair.clip, repair.field, repair.now) == ("megc2019/s01_s1_ne_01", "image", "left out")


# ------------------------------------------------------------------------------------- sets


def test_records_come_back_from_the_shards_to_the_byte(drawn, tmp_path):
    root, _ = drawn
    said = []
    made = config(root, data_dir=str(tmp_path))
    first = prepare(made, said.append)
    assert not first.reused
    assert first.counts == {"written": 18, "noted": 0, "dropped": 0, "quarantined": 0}
    read, stored = source(root), shards.load_shards(first.path, made.prep.to_dict())
    assert stored.info.class_names == CLASSES
    assert stored.info.recipe == {"form": "images", "size": 28, "steps": 1}
    assert stored.info.release["images"] == IMAGES
    for index, entry in enumerate(read.entries()):
        wanted = read.record(entry)
        assert stored[index].keys() == wanted.keys()
        np.testing.assert_array_equal(stored[index]["image"], wanted["image"], strict=True)
        del wanted["image"]
        assert {name: stored[index][name] for name in wanted} == wanted
    told = re.sub(r"\s+", " ", " ".join(said))
    assert "Warning: megc2019 has 18 clips, where MEGC 2019 (See et al. 2019) states 442" in told
    assert "It has 6 subjects" in told
    assert "Reused 0 of 18 clips, made 18, left out 0, failed 0" in told

    second = prepare(made, said.append)
    assert (second.reused, second.path, second.reused_clips) == (True, first.path, 18)
    assert {path.name for path in tmp_path.iterdir()} == {"megc2019"}  # nothing is cached
    assert not list(first.path.parent.glob("*.jsonl"))


def test_the_same_set_is_the_same_to_the_byte_and_another_is_another(drawn, tree, tmp_path):
    made = [
        prepare(config(root, data_dir=str(tmp_path / root.parent.name)), lambda line: None)
        for root in (drawn[0], tree)
    ]
    assert made[0].name == made[1].name
    sums = [(each.path / "SHA256SUMS").read_bytes() for each in made]
    assert sums[0] == sums[1]
    rewrite(tree, set_cell("label", "2", row=0))
    other = prepare(config(tree, data_dir=str(tmp_path)), lambda line: None)
    assert other.name != made[1].name


def test_a_refusal_leaves_no_set(tree, tmp_path):
    (file, *_) = (tree / IMAGES).iterdir()
    file.unlink()
    with pytest.raises(UserError, match="it is missing"):
        prepare(config(tree, data_dir=str(tmp_path / "data")))
    assert not (tmp_path / "data").exists()


def test_the_set_is_exported_as_tfrecord(drawn, tmp_path):
    pytest.importorskip("google_crc32c")
    prepared = prepare(config(drawn[0], data_dir=str(tmp_path)), lambda line: None)
    out = tfrecord.write(prepared.path, tmp_path / "tfrecord")
    (file,) = out.glob("*.tfrecord-*")
    serialized = shards.load_shards(prepared.path).serialized(17)
    assert file.read_bytes()[-4 - len(serialized) : -4] == serialized


# --------------------------------------------------------------------- configuration, commands


def test_the_recipe_and_the_clips_are_of_one_kind(drawn):
    made = config(drawn[0])
    configs.validate(made)
    assert set(flatten(made.data.to_dict())) == {"dataset", "manual_dir", "classes", "data_dir"}
    videos = ConfigDict({"data": configs.data("samm"), "prep": configs.image_recipe()})
    with pytest.raises(
        UserError, match=r"'samm', which holds videos, but config\.prep is for ready-made images"
    ):
        configs.validate(videos)
    images = ConfigDict({"data": configs.data("megc2019"), "prep": configs.recipe()})
    with pytest.raises(UserError, match=r"is for videos\. Fix: .*configs/megc2019\.py"):
        configs.validate(images)


@pytest.mark.parametrize(("field", "value"), [("size", 56), ("steps", 2)])
def test_what_the_images_are_cannot_be_set(drawn, field, value):
    made = config(drawn[0])
    made.prep[field] = value
    with pytest.raises(UserError, match=rf"config\.prep\.{field} is {value}; it must be"):
        prepare(made)


def test_another_map_of_classes_is_refused(drawn):
    made = config(drawn[0], classes="paper")
    for refuses in (configs.validate, registry.class_names, registry.source):
        with pytest.raises(UserError, match=r"config\.data\.classes 'paper'.* One of: megc2019"):
            refuses(made)


def checked(root):
    said, refused = [], ""
    try:
        release_check.check(config(root), said.append)
    except UserError as error:
        refused = str(error)
    return re.sub(r"\s+", " ", "\n".join([*said, refused])), not refused


def test_check_says_what_there_is(drawn):
    told, good = checked(drawn[0])
    assert good
    assert f"folder {drawn[0]}" in told
    assert f"images {IMAGES} sheet {SHEET}" in told
    assert "smic 6 clips of 2 subjects (stated: 164 clips of 16 subjects)" in told
    rows = "negative 6 6 250 positive 6 6 109 surprise 6 6 83 all 18 6 442"
    assert f"class clips subjects stated {rows} stated: MEGC 2019" in told
    assert "The release can be used as it is." in told


def test_check_says_what_is_missing(tree, tmp_path):
    (file, *_) = (tree / IMAGES).iterdir()
    file.unlink()
    told, good = checked(tree)
    assert not good
    assert "it is missing" in told
    told, good = checked(tmp_path / "nothing")
    assert not good
    assert "megc2019: missing The composite of MEGC 2019 as images of flow" in told


def test_a_class_that_is_absent_is_missed_by_check(tree):
    rewrite(tree, lambda kept: [row for row in kept if row["label"] != "2"])
    told, good = checked(tree)
    assert not good
    assert "The release can be prepared but not trained on: no clip of class surprise" in told


CONFIG = """
from ml_collections import ConfigDict
from data_prep import config

def get_config():
    return ConfigDict({"data": config.data("megc2019"), "prep": config.image_recipe()}).lock()
"""


def test_the_command_prepares_checks_and_refuses_what_is_for_videos(drawn, tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    command = [sys.executable, "-m", "data_prep", f"--config={tmp_path / 'config.py'}"]
    command += [f"--config.data.manual_dir={drawn[0]}", f"--config.data.data_dir={tmp_path}"]
    expected = {
        (): (0, f"18 clips in .* s: {tmp_path}/megc2019/"),
        ("--check",): (0, "The release can be used as it is"),
        ("--preview",): (2, "these clips are images"),
        ("--video=x.mp4", "--out=x"): (2, "--video: the recipe of --config is for images"),
    }
    for flags, (status, told) in expected.items():
        done = subprocess.run([*command, *flags], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert re.search(told, done.stdout + done.stderr), flags


# ----------------------------------------------------------------------------- drawn images


def test_strain_of_a_shear_and_of_a_stretch():
    y, x = np.mgrid[:5, :6].astype(float)
    shear = synthetic_images.strain(np.dstack([0.4 * y, 0 * x]))
    np.testing.assert_allclose(shear, np.sqrt(2 * 0.2**2))  # e_xy = e_yx = 0.2
    stretch = synthetic_images.strain(np.dstack([0.3 * x, 0.4 * y]))
    np.testing.assert_allclose(stretch, 0.5)
    turn = synthetic_images.strain(np.dstack([-0.2 * y, 0.2 * x]))
    np.testing.assert_allclose(turn, 0, atol=1e-12)


def test_every_channel_of_every_image_is_stretched(drawn):
    for file in (drawn[0] / IMAGES).iterdir():
        image = pixels(file)
        assert image.min((0, 1)).tolist() == [0, 0, 0]
        assert image.max((0, 1)).tolist() == [255, 255, 255]
    flat_image = synthetic_images.stretch_channels(np.full((2, 2, 1), 3.0))
    assert not flat_image.any()


def test_classes_of_drawn_images_can_be_learnt_across_people(tmp_path):
    release_tree.write("megc2019", tmp_path, subjects=4, clips=3)
    read = source(tmp_path)
    entries = read.entries()
    images = np.stack([read.record(entry)["image"].ravel() / 255 for entry in entries])
    labels = np.array([CLASSES.index(entry.label) for entry in entries])
    people = np.array([f"{entry.dataset}/{entry.subject}" for entry in entries])
    found = []
    for person in sorted({*people}):
        train, test = people != person, people == person
        mean = images[train].mean(0)
        seen, unseen = images[train] - mean, images[test] - mean
        gram = seen @ seen.T + 30 * np.eye(len(seen))  # ridge regression on the classes
        scores = unseen @ seen.T @ np.linalg.solve(gram, np.eye(3)[labels[train]] - 1 / 3)
        found += list(scores.argmax(1) == labels[test])
    assert np.mean(found) > 0.7  # a third by chance


def test_the_layout_has_one_release_and_no_traps(tmp_path):
    mistakes: tuple[dict[str, Any], ...] = ({"traps": True}, {"release": "both"})
    for flags in mistakes:
        with pytest.raises(UserError, match="megc2019"):
            release_tree.write("megc2019", tmp_path / "tree", **flags)
    assert not (tmp_path / "tree").exists()


def test_the_command_draws_and_says_how_to_read(tmp_path, capsys):
    out = tmp_path / "tree"
    flags = ["--subjects=1", "--clips=1", "--size=64"]
    assert command_line.main(["--layout=megc2019", f"--out={out}", *flags]) == 0
    told = capsys.readouterr().out
    assert f"3 clips without a trap in {out}" in told
    assert told.splitlines()[-1] == f"  --config.data.manual_dir={out}"
    assert len(source(out).entries()) == 3


# ------------------------------------------------------------------------------ the real clone


@pytest.mark.skipif(not Path(CLONE or "/nowhere").is_dir(), reason="MSER_MEGC2019 names no clone")
def test_the_real_clone_is_the_composite_of_the_challenge(tmp_path):
    read = source(CLONE)
    entries = read.entries()
    assert len(entries) == 442
    assert Counter(entry.label for entry in entries) == dict(zip(CLASSES, (250, 109, 83)))
    assert Counter(entry.dataset for entry in entries) == {n: c for n, (c, _) in DATABASES.items()}
    people = {(entry.dataset, entry.subject) for entry in entries}
    assert len(people) == 68
    assert Counter(dataset for dataset, _ in people) == {n: s for n, (_, s) in DATABASES.items()}
    assert read.listing.deviation == ""
    assert not read.listing.repairs
    prepared = prepare(config(CLONE, data_dir=str(tmp_path)), lambda line: None)
    stored = shards.load_shards(prepared.path)
    assert len(stored) == 442
    for index in (0, 200, 441):
        np.testing.assert_array_equal(stored[index]["image"][0], pixels(entries[index].file))
