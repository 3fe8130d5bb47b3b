import dataclasses

import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.datasets.base import repairs
from data_prep.shards import dataset as shards
from mser_jax.data import dataset

SIZE, STEPS = 18, 2
SIDE = SIZE + 2 * 2
RECIPE = {"size": SIZE, "steps": STEPS}
CLIPS = [("s2", "b", 1), ("s1", "a", 0), ("s2", "a", 1)]


def made(number, subject, clip, label):
    rng = np.random.default_rng(number)
    flow = rng.standard_normal((STEPS, SIDE, SIDE, 2)).astype(np.float16)
    flow[:, :2] = 99  # the margin, which no test clip shows
    return {
        "flow": flow,
        "frames": rng.integers(0, 256, (STEPS + 1, SIDE, SIDE, 1), np.uint8),
        "label": label,
        "emotion": "joy",
        "subject": subject,
        "clip_id": clip,
        "dataset": "noise",
        "onset": 0,
        "apex": -1,
        "offset": 9,
        "apex_index": -1,
        "apex_estimated": 0,
        "first": 0,
        "fps": 100.0,
        "positions": np.arange(STEPS + 1, dtype=np.float32),
        "notes": "",
    }


def records():
    return [made(number, *clip) for number, clip in enumerate(CLIPS)]


def written(folder, records, quarantined=1):
    counts = {"written": len(records), "dropped": 2, "quarantined": quarantined}
    return shards.write(
        records,
        data_dir=folder,
        name="noise",
        fingerprint="f",
        recipe=RECIPE,
        class_names=("calm", "wild"),
        describe=lambda: {
            "counts": counts,
            "release": {},
            "repairs": [dataclasses.asdict(repairs.left_out_row(name, "unknown")) for name in "ab"],
            "quarantined": {},
        },
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return written(tmp_path_factory.mktemp("set"), records())


def load(path, kind="flow", scale="none", recipe=RECIPE, keep=lambda size: True):
    return dataset.load(path, recipe, kind=kind, scale=scale, fits_in_memory=keep)


def test_clips_come_in_order_with_their_names(path):
    loaded = load(path)
    assert loaded.names == ["noise/s2/b", "noise/s1/a", "noise/s2/a"]
    assert loaded.groups == ["noise/s2", "noise/s1", "noise/s2"]
    assert loaded.class_names == ("calm", "wild")
    assert loaded.dropped == {"unknown": 2, "failed in the preprocessing": 1}
    assert loaded.clips.labels.tolist() == [1, 0, 1]
    assert loaded.clips.labels.dtype == np.int32
    assert loaded.clips.pixels.dtype == np.float16
    assert loaded.clips.scale.tolist() == [1, 1, 1]
    for pixels, record in zip(loaded.clips.pixels, records(), strict=True):
        np.testing.assert_array_equal(pixels, record["flow"])


def test_nothing_failed_is_nothing_dropped(tmp_path):
    assert load(written(tmp_path, records(), quarantined=0)).dropped == {"unknown": 2}


def test_frames_are_the_key_frames_after_the_first_in_0_to_1(path):
    clips = load(path, kind="frames").clips
    assert clips.pixels.dtype == np.uint8
    for pixels, record in zip(clips.pixels, records(), strict=True):
        np.testing.assert_array_equal(pixels, record["frames"][1:])
    np.testing.assert_allclose(clips.scale, 1 / 255)


def test_scale_of_a_clip_is_that_of_its_window(path, tmp_path):
    for scale, record in zip(load(path, scale="clip").clips.scale, records(), strict=True):
        window = record["flow"][:, 2:-2, 2:-2].astype(np.float64)
        lengths = np.hypot(window[..., 0], window[..., 1])
        assert scale * np.percentile(lengths, 95) == pytest.approx(1, rel=1e-4)
    still = records()[0]
    still["flow"] = np.zeros_like(still["flow"])
    assert load(written(tmp_path, [still]), scale="clip").clips.scale == pytest.approx([10])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_flow_that_is_not_finite_names_the_clips(tmp_path, bad):
    spoilt = records()
    for record in spoilt[1:]:
        record["flow"][1, 3, 4, 0] = bad
    path = written(tmp_path, spoilt)
    with pytest.raises(UserError, match=r"not finite: s1/a, s2/a\.\nFix:"):
        load(path)
    assert len(load(path, kind="frames").clip) == 3  # the flow is not read


def test_a_set_of_another_recipe_or_none_is_refused(path, tmp_path):
    with pytest.raises(UserError, match=r"prep\.steps: the set has 2, the configuration 3"):
        load(path, recipe={**RECIPE, "steps": 3})
    with pytest.raises(UserError, match="no finished set"):
        load(tmp_path)


def test_digest_stands_for_the_clips_and_not_for_their_folder(path, tmp_path):
    digests = {load(path).digest, load(written(tmp_path / "copy", records())).digest}
    assert len(digests) == 1
    for field, value in (("label", 0), ("subject", "s3"), ("flow", records()[1]["flow"])):
        changed = records()
        changed[0][field] = value
        digests.add(load(written(tmp_path / field, changed)).digest)
    assert len(digests) == 4


@pytest.mark.parametrize("kind", ["flow", "frames"])
def test_pixels_that_stay_on_disk_are_the_same_clip_by_clip(path, kind):
    asked = []
    stored = load(path, kind=kind, scale="clip", keep=asked.append)
    kept = load(path, kind=kind, scale="clip")
    assert asked == [kept.clips.pixels.nbytes]
    assert stored.digest == kept.digest
    assert stored.clips.pixels.shape == kept.clips.pixels.shape
    assert stored.clips.pixels.dtype == kept.clips.pixels.dtype
    np.testing.assert_array_equal(stored.clips.scale, kept.clips.scale)
    np.testing.assert_array_equal(stored.clips.labels, kept.clips.labels)
    for index, pixels in enumerate(kept.clips.pixels):
        np.testing.assert_array_equal(stored.clips.pixels[index], pixels)
