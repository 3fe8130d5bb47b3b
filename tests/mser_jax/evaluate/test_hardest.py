import dataclasses
import re

import numpy as np
import pytest

from data_prep.common.cv import cv2
from data_prep.preview import flow_colour
from data_prep.shards import dataset as shards
from helpers.made_tables import made
from mser_jax.evaluate import hardest
from mser_jax.report.run import clip_pictures
from mser_jax.report.run import page as report

SIDE, STEPS = 22, 4
RECIPE = {"size": 18, "steps": STEPS}
IMAGES = {"form": "images", "size": 28, "steps": 1}
APEX = {"0": 3, "1": -1, "2": 0}  # of each clip by its name; the last has it where the clip begins
KEY_FRAME = {"0": 3, "1": 2, "2": 2}  # that is shown for it


def table(**probabilities):
    """Three clips of two subjects, all answered wrongly; the first is the surest of its own."""
    p = np.array([[0.1, 0.9, 0], [0.7, 0.3, 0], [0.6, 0.2, 0.2]], np.float32)
    wrong = made([0, 1, 2], [1, 0, 0], subject=["s1", "s1", "s ü/2"])
    return dataclasses.replace(wrong, probabilities=p[:, None], **probabilities)


def frame(number, step):
    """Grey waves that differ from clip to clip and from step to step."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    return np.uint8(127 + 120 * np.sin((1 + number) * x + (2 + step) * y + step))


def record(number, recipe):
    about = {
        "label": number,
        "emotion": "joy",
        "subject": table().subject[number],
        "clip_id": table().clip[number],
        "dataset": "made",
        "notes": "",
    }
    if "form" in recipe:
        image = np.zeros((1, 28, 28, 3), np.uint8)
        image[..., number] = 200
        return {"image": image, **about}
    turn = np.pi / 2 * np.arange(STEPS)  # of the movement: another direction at each step
    flow = np.stack([np.cos(turn), np.sin(turn)], axis=-1)[:, None, None]
    frames = np.stack([frame(number, step) for step in range(STEPS + 1)])[..., None]
    return {
        **about,
        "flow": np.broadcast_to(flow, (STEPS, SIDE, SIDE, 2)).astype(np.float16),
        "frames": frames,
        "positions": np.arange(STEPS + 1, dtype=np.float32),
        **dict.fromkeys(("onset", "apex", "offset", "apex_estimated", "first"), 0),
        "apex_index": APEX[about["clip_id"]],
        "fps": 100.0,
    }


def written(folder, recipe=RECIPE, rows=(2, 0, 1)):
    return shards.write(
        [record(number, recipe) for number in rows],
        data_dir=folder,
        name="made",
        fingerprint="f",
        recipe=recipe,
        class_names=("a", "b", "c"),
        describe=lambda: {
            "counts": {"written": len(rows), "dropped": 0, "quarantined": 0},
            "release": {},
            "repairs": [],
            "quarantined": {},
        },
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return written(tmp_path_factory.mktemp("set"))


def config(faces=True, recipe=RECIPE):
    return {
        "name": "made",
        "preset": "fast",
        "data": {"dataset": "made"},
        "prep": recipe,
        "model": {},
        "train": {},
        "input": {"kind": "images" if "form" in recipe else "flow"},
        "evaluation": {"protocol": "loso", "select": "mean"},
        "report": {"faces": faces},
    }


def events(path):
    return [{"event": "data", "set": str(path), "dropped": {}}]


def parts(path):
    """The parts of a picture, uint8 `[SIDE, SIDE, 3]` RGB each."""
    image = np.asarray(cv2.imread(str(path)))[..., ::-1]
    side, step = clip_pictures.SIDE, clip_pictures.SIDE + clip_pictures.GAP
    return [
        cv2.resize(image[:, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        for left in range(0, image.shape[1], step)
    ]


def apart(first, second):
    return np.abs(first.astype(float) - second).mean()


def test_the_least_probability_of_the_true_class_comes_first():
    found = hardest.clips(table(), "mean")
    assert found["wrong"] == 3
    assert [row["clip"] for row in found["clips"]] == ["0", "2", "1"]
    first = found["clips"][0]
    assert (first["true"], first["answer"]) == ("a", "b")
    assert (first["p_true"], first["p_answer"]) == pytest.approx((0.1, 0.9))
    assert [row["clip"] for row in hardest.clips(table(), "mean", 1)["clips"]] == ["0"]


def test_right_answers_are_none_of_them():
    found = hardest.clips(dataclasses.replace(table(), label=np.array([1, 1, 0])), "mean")
    assert (found["wrong"], [row["clip"] for row in found["clips"]]) == (1, ["1"])
    nothing = hardest.clips(made([0, 1, 2], [0, 1, 2]), "mean")
    assert nothing == {"wrong": 0, "clips": []}


def test_of_several_seeds_the_mean_answers():
    """Of one clip a seed is wrong and surest of it, but not their mean; of one a seed failed."""
    p = np.array([[0, 1], [0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.1, 0.9]], np.float32)
    seeds = made([0, 0, 0, 0, 0], [0] * 5, seed=[0, 1, 2, 0, 1], classes=2)
    clip = np.array(["x", "x", "x", "y", "y"])
    seeds = dataclasses.replace(seeds, probabilities=p[:, None], clip=clip)
    (row,) = hardest.clips(seeds, "mean")["clips"]
    assert (row["clip"], row["p_true"], row["p_answer"]) == ("y", 0.25, 0.75)
    p[4] = np.nan
    loss = np.where(np.isnan(p[:, :1]), np.float32(np.nan), 0)
    failed = dataclasses.replace(seeds, probabilities=p[:, None], train_loss=loss)
    (row,) = hardest.clips(failed, "mean")["clips"]
    assert row["p_answer"] == pytest.approx(0.6)


def test_names_of_files_are_plain_and_their_own():
    names = ["d/s ü/a b", "d/s-ü/a-b", "d/s ü/A b", "../../x", "d/" + 300 * "y", "d/s\0\n%#?"]
    files = [hardest.file_name(name, hardest.FACES) for name in names]
    assert len({file.lower() for file in files}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{,90}-faces\.png", file) for file in files)


def test_a_picture_holds_the_key_frames_and_the_flow_between(tmp_path, prepared):
    found = clip_pictures.draw(tmp_path, table(), config(), events(prepared))
    assert (found.kind, found.missing_reason) == (hardest.FACES, "")
    assert set(found.files) == {"made/s1/0", "made/s1/1", "made/s ü/2/2"}
    for number, name in enumerate(("made/s1/0", "made/s1/1", "made/s ü/2/2")):
        clip = name[-1]
        onset, apex, flow = parts(tmp_path / "hardest" / found.files[name])
        for part, step in ((onset, 0), (apex, KEY_FRAME[clip])):
            distances = [apart(part[..., 0], frame(number, each)) for each in range(STEPS + 1)]
            assert np.argmin(distances) == step
            assert distances[step] < 2 < np.sort(distances)[1] / 3
        moved = record(number, RECIPE)["flow"][KEY_FRAME[clip] - 1]
        assert apart(flow, flow_colour.colours(moved, 1.0)) < 2


def test_without_faces_there_is_the_flow_alone_and_older_faces_go(tmp_path, prepared):
    clip_pictures.draw(tmp_path, table(), config(), events(prepared))
    with_faces = {path.name for path in (tmp_path / "hardest").iterdir()}
    assert len(with_faces) == 3
    found = clip_pictures.draw(tmp_path, table(), config(faces=False), events(prepared))
    left = {path.name for path in (tmp_path / "hardest").iterdir()}
    assert left == set(found.files.values())
    assert not left & with_faces
    (flow,) = parts(tmp_path / "hardest" / found.files["made/s1/0"])
    assert apart(flow, flow_colour.colours(record(0, RECIPE)["flow"][2], 1.0)) < 2
    page = report.write(tmp_path, table(), config(faces=False), events(prepared), found)
    assert "forbid" not in page.read_text()
    assert "faces.png" not in page.read_text()


def test_faces_go_even_where_the_prepared_clips_have_gone(tmp_path, prepared):
    clip_pictures.draw(tmp_path, table(), config(), events(prepared))
    gone = events(tmp_path / "gone")
    kept = clip_pictures.draw(tmp_path, table(), config(), gone)
    assert (len(kept.files), kept.missing_reason) == (3, ""), "what an earlier report drew does"
    found = clip_pictures.draw(tmp_path, table(), config(faces=False), gone)
    assert not (tmp_path / "hardest").exists()
    assert not found.files
    told = f"not at {tmp_path / 'gone'} any more. Fix: .*--mode=evaluate"
    assert re.search(told, found.missing_reason)
    page = report.write(tmp_path, table(), config(faces=False), gone, found).read_text()
    assert re.search(f"Pictures are missing. .*{told}", page)
    assert not re.search(r"<img src=\"hardest", page)
    assert "img-src data:;" in page


@pytest.mark.parametrize(
    ("log", "told"), [([], "did not record where"), (events(""), "did not record where")]
)
def test_a_log_without_the_place_is_no_error(tmp_path, log, told):
    assert told in clip_pictures.draw(tmp_path, table(), config(), log).missing_reason


def test_a_set_of_another_recipe_or_without_the_clip_is_told(tmp_path, prepared):
    other = {**RECIPE, "size": 20}
    found = clip_pictures.draw(tmp_path, table(), config(recipe=other), events(prepared))
    assert "prepared with other settings" in found.missing_reason
    assert not found.files
    some = written(tmp_path / "some", rows=(0,))
    found = clip_pictures.draw(tmp_path, table(), config(), events(some))
    assert (set(found.files), found.missing_reason != "") == ({"made/s1/0"}, True)


def test_images_are_shown_by_their_channels_whether_faces_or_not(tmp_path):
    path = written(tmp_path / "data", IMAGES)
    shown = config(faces=False, recipe=IMAGES)
    found = clip_pictures.draw(tmp_path, table(), shown, events(path))
    assert (found.kind, len(found.files)) == (hardest.IMAGE, 3)
    u, v, strain = parts(tmp_path / "hardest" / found.files["made/s1/1"])
    assert ((u == 0).all(), (v == 200).all(), (strain == 0).all()) == (True, True, True)


def test_the_page_shows_the_pictures_and_allows_no_more(tmp_path, prepared):
    found = clip_pictures.draw(tmp_path, table(), config(), events(prepared))
    page = report.write(tmp_path, table(), config(), events(prepared), found).read_text()
    shown = re.findall(r'<img src="(hardest/[^"]+)" alt="([^"]+)"', page)
    assert [name for name, _ in shown] == [
        f"hardest/{found.files[name]}" for name in ("made/s1/0", "made/s ü/2/2", "made/s1/1")
    ]
    assert all((tmp_path / name).is_file() for name, _ in shown)
    assert all("in hardest/, which is not beside this page" in alt for _, alt in shown)
    assert "default-src 'none'; img-src data: 'self' file:; style-src 'unsafe-inline'\"" in page
    assert "forbid publishing most faces" in page
    assert "--config.report.faces=False" in page
    for told in ("true: a, 10.0%", "answer: b, 90.0%", "1. s1/0"):
        assert told in page
