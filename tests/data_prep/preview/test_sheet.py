"""What the sheet and the film of a clip show, and that they can be read back."""

import dataclasses
import functools
import warnings

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from data_prep import config
from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.preview import canvas, flow_colour, sheet, slices
from data_prep.preview import film as preview
from data_prep.stages import apex, face, keyframes, magnify
from data_prep.synthetic import clips as synthetic
from mser_jax.data import augment

STAGES = {
    "face": face.crop,
    "apex": apex.estimate,
    "magnify": magnify.magnify,
    "keyframes": keyframes.select,
}


@functools.cache
def source_clip():
    spec = config.synthetic()
    spec.update(size=96, fps=60.0, subjects=1, clips_per_subject=1, seed=11)
    source = synthetic.SyntheticSource(spec)
    return source.load(source.entries()[0])


def made(
    clip: Clip | None = None, stages=("face", "magnify", "keyframes"), size=32, steps=16, **fields
):
    """The history and the record of a clip; the flow is a field that grows from pair to pair."""
    after = clip or source_clip()
    recipe = config.recipe()
    recipe.update(fields)
    margin = config.margin(size)
    fixed = {"face": {"size": size, "margin": margin}, "keyframes": {"count": steps + 1}}
    history = {"source": after}
    for name in stages:
        after = STAGES[name](after, **fixed.get(name, {}), **recipe[name].to_dict())
        history[name] = after
    side = size + 2 * margin
    y, x = np.mgrid[:side, :side].astype(np.float32)
    field = np.stack([np.exp(-((x - 9) ** 2 + (y - 20) ** 2) / 50), (x - y) / side / 9], -1)
    record = {
        "frames": np.rint(np.asarray(after.frames)).astype(np.uint8)[..., None],
        "flow": np.stack([(1 + step) / steps * field for step in range(steps)]).astype(np.float16),
        "apex": -1 if after.apex is None else int(np.asarray(after.positions)[after.apex]),
        "apex_index": -1 if after.apex is None else after.apex,
        "apex_estimated": int(after.apex_estimated),
    }
    return history, record


def film_of(path):
    film = cv2.VideoCapture(str(path))
    frames = []
    while (read := film.read())[0]:
        frames.append(read[1])
    return np.array(frames), film.get(cv2.CAP_PROP_FPS)


def picture_of(path):
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture


def panel(film, place):
    left = preview.EDGE + place * (preview.PANEL + preview.EDGE)
    return film[:, preview.HEAD : preview.HEAD + preview.PANEL, left : left + preview.PANEL, 0]


def near_apex(figure):
    """The pictures that are framed in the apex's colour."""
    return [
        np.asarray(axes.images[0].get_array())
        for axes in figure.axes
        if axes.images and to_hex(axes.spines["left"].get_edgecolor()) == canvas.APEX
    ]


def texts(figure):
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [text.get_text() for text in figure.texts] + inside


CASES = {
    "usual": {},
    "nine frames": {"steps": 8},
    "three frames": {"steps": 2},
    "more than are shown": {"steps": 24},
    "magnified last": {"stages": ("face", "keyframes", "magnify")},
    "never magnified": {"stages": ("face", "keyframes")},
    "apex estimated": {"stages": ("face", "apex", "magnify", "keyframes")},
    "tim": {"keyframes": {"rule": "tim"}},
    "box": {"face": {"points": "box"}},
}


@pytest.mark.parametrize("case", CASES)
def test_any_recipe_can_be_seen(tmp_path, case):
    clip = source_clip()
    if case == "box":
        clip = dataclasses.replace(clip, landmarks=None, apex=None)
    if case == "apex estimated":
        clip = dataclasses.replace(clip, apex=None)
    history, record = made(clip, **CASES[case])
    picture, film = preview.write(tmp_path / "new", history, record)
    assert (picture.name, film.name) == ("synthetic-s00-00.png", "synthetic-s00-00.mp4")
    assert picture_of(picture).shape[1] == sheet.WIDTH
    frames, _ = film_of(film)
    before = history["keyframes" if case == "magnified last" else "face"]
    panels = 1 if case == "never magnified" else 2
    assert len(frames) == len(before.frames)
    assert frames.shape[2] == preview.EDGE + panels * (preview.PANEL + preview.EDGE)


def test_the_film_shows_the_original_beside_the_magnified(tmp_path):
    history, record = made(size=64, magnify={"alpha": 8.0, "wavelength": 16.0})
    _, film = preview.write(tmp_path, history, record)
    frames, _ = film_of(film)
    for place, stage in enumerate(("face", "magnify")):
        apex = source_clip().apex
        expected, seen = np.asarray(history[stage].frames)[apex], panel(frames, place)[apex]
        assert np.abs(cv2.resize(expected, seen.shape) - seen).mean() < 6
    apart = np.abs(panel(frames, 0).astype(int) - panel(frames, 1)).mean(axis=(1, 2))
    assert apart[source_clip().apex] > 2 * apart[source_clip().onset]


@pytest.mark.parametrize(
    ("count", "fps", "rate"),
    [
        (9, 100.0, 5.0),
        (100, 100.0, 25.0),
        (900, 200.0, 60.0),
        (90, 12.5, 12.5),
        (470, 23.976, 23.98),
    ],
)
def test_a_short_film_is_slowed_down(count, fps, rate):
    assert preview._rate(count, fps) == rate


def test_a_player_is_told_the_rate(tmp_path):
    history, record = made()
    frames, rate = film_of(preview.write(tmp_path, history, record)[1])
    assert rate == preview._rate(len(frames), 60.0) < 60


def test_the_marker_runs_from_left_to_right(tmp_path):
    history, record = made()
    frames, _ = film_of(preview.write(tmp_path, history, record)[1])
    line = preview.HEAD + preview.PANEL + preview.LINE
    dark = (frames[:, line - 3 : line + 4].max(axis=(1, 3)) < 90).astype(float)
    columns = np.arange(dark.shape[1])
    middles = (dark * columns).sum(1) / dark.sum(1)
    count = len(frames)
    width = frames.shape[2] - 2 * preview.EDGE
    expected = preview.EDGE + (np.arange(count) + 0.5) / count * width
    np.testing.assert_allclose(middles, expected, atol=3)


def test_the_apex_is_framed_in_key_frames_flow_and_strain():
    history, record = made(steps=16)
    apex = record["apex_index"]
    frame, flow, strain = near_apex(sheet.sheet(history, record))
    np.testing.assert_array_equal(frame, record["frames"][apex, ..., 0])
    into_apex = record["flow"][apex - 1]
    np.testing.assert_array_equal(strain, flow_colour.strain(into_apex))
    longest = np.hypot(*record["flow"][-1].astype(np.float32).T)
    expected = flow_colour.colours(into_apex, float(np.quantile(longest, 0.99)))
    assert np.abs(flow.astype(int) - expected).max() <= 1


def test_a_clip_without_apex_has_none_on_its_sheet():
    history, record = made(dataclasses.replace(source_clip(), apex=None))
    figure = sheet.sheet(history, record)
    assert not near_apex(figure)
    assert not [text for text in texts(figure) if text.endswith("apex")]


def test_an_estimated_apex_is_drawn_and_called_so():
    clip = dataclasses.replace(source_clip(), apex=None, first=1000)
    history, record = made(clip, stages=("face", "apex", "magnify", "keyframes"))
    figure = sheet.sheet(history, record)
    assert f"apex {1000 + record['apex']} (estimated)" in " ".join(texts(figure))
    np.testing.assert_array_equal(
        near_apex(figure)[0], record["frames"][record["apex_index"], ..., 0]
    )


def test_the_sheet_says_what_a_reader_must_know():
    clip = dataclasses.replace(source_clip(), notes=("2 faces in the onset frame.",))
    history, record = made(clip)
    said = " ".join(texts(sheet.sheet(history, record)))
    marks = f"onset {clip.onset}, apex {clip.apex}, offset {clip.offset}"
    for fact in (clip.name, clip.label, marks, "60 frames a second", "2 faces in", "40 × 40"):
        assert fact in said


def outlines(axes):
    return [np.asarray(line.get_xydata()) for line in axes.lines if len(line.get_xydata()) == 5]


@pytest.mark.parametrize("points", ["auto", "box"])
def test_the_window_is_drawn_where_the_face_is_cut(points):
    clip = source_clip()
    if points == "box":
        clip = dataclasses.replace(clip, landmarks=None)
    history, record = made(clip, face={"points": points})
    frame, crop = sheet.sheet(history, record).axes[:2]
    forth = np.asarray(history["face"].transform)
    drawn = [square @ forth[:, :2].T + forth[:, 2] for square in outlines(frame)]
    for square, (low, high) in zip(drawn, [(-0.5, 39.5), (3.5, 35.5)], strict=True):
        corners = [[low, low], [high, low], [high, high], [low, high], [low, low]]
        np.testing.assert_allclose(square, corners, atol=1e-4)  # 32 px and a margin of 4
    (window,) = outlines(crop)
    np.testing.assert_allclose(window, drawn[1], atol=1e-4)


def test_the_landmarks_are_drawn_where_they_are():
    history, record = made()
    source = dataclasses.replace(source_clip(), landmarks=None)  # as where dlib has found them
    frame, crop = sheet.sheet({**history, "source": source}, record).axes[:2]
    drawn = [np.asarray(axes.collections[0].get_offsets()) for axes in (frame, crop)]
    np.testing.assert_allclose(drawn[0], np.asarray(source_clip().landmarks), atol=1e-2)
    np.testing.assert_allclose(drawn[1], np.asarray(history["face"].landmarks), atol=1e-4)


def test_frames_have_the_numbers_of_the_source():
    clip = dataclasses.replace(source_clip(), first=1000, apex=None)
    history, record = made(clip, keyframes={"rule": "tim"})
    figure = sheet.sheet(history, record)
    said = texts(figure)
    middle = 1000 + (clip.onset + clip.offset) / 2
    for number in (1000 + clip.onset, middle, 1000 + clip.offset):
        assert f"{number:g}" in said
    low, high = figure.axes[4].get_xlim()
    assert (low, high) == (999.5, 999.5 + len(clip.frames))
    np.testing.assert_array_equal(slices.frame_numbers(history["keyframes"])[8], middle)


def test_the_margin_is_the_recipes():
    for size in range(8, 400):
        assert sheet._margin(size + 2 * config.margin(size)) == config.margin(size)


def test_slices_are_drawn_with_their_key_frames(tmp_path):
    history, _ = made()
    clip, chosen = history["magnify"], history["keyframes"]
    figure = slices.figure(clip, chosen)
    for axes, line in zip(figure.axes, keyframes.slices(clip), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), line.image.T)
        (lines_at,) = axes.collections
        assert isinstance(lines_at, LineCollection)
        drawn = [np.asarray(segment)[0, 0] for segment in lines_at.get_segments()]
        np.testing.assert_array_equal(drawn, np.asarray(chosen.positions))
    preview.write_slices(tmp_path / "slices.png", history)
    assert picture_of(tmp_path / "slices.png").shape == (460, 900, 3)


@pytest.mark.parametrize(
    ("count", "wanted", "most", "expected"),
    [
        (3, -1, 6, [0, 1, 2]),
        (17, -1, 5, [0, 4, 8, 12, 16]),
        (17, 7, 5, [0, 4, 7, 12, 16]),
        (17, 15, 5, [0, 4, 8, 15, 16]),
        (17, 8, 5, [0, 4, 8, 12, 16]),
        (2, 0, 6, [0, 1]),
    ],
)
def test_what_is_shown_of_many(count, wanted, most, expected):
    assert sheet.choose_indices(count, wanted, most) == expected


def middlebury(right, down):
    """The colour of a movement as the benchmark's authors compute it, one pixel at a time."""
    wheel = []
    arcs = (
        (15, lambda i, n: (255, 255 * i // n, 0)),
        (6, lambda i, n: (255 - 255 * i // n, 255, 0)),
        (4, lambda i, n: (0, 255, 255 * i // n)),
        (11, lambda i, n: (0, 255 - 255 * i // n, 255)),
        (13, lambda i, n: (255 * i // n, 0, 255)),
        (6, lambda i, n: (255, 0, 255 - 255 * i // n)),
    )
    for count, colour in arcs:
        wheel += [colour(index, count) for index in range(count)]
    length = np.hypot(right, down)
    place = (np.arctan2(-down, -right) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = int(place)
    pixel = []
    for channel in range(3):
        one, other = wheel[low][channel] / 255, wheel[(low + 1) % len(wheel)][channel] / 255
        value = (1 - (place - low)) * one + (place - low) * other
        value = 1 - length * (1 - value) if length <= 1 else value * 0.75
        pixel.append(int(255 * value))
    return pixel


def test_the_wheel_is_middleburys():
    flow = np.random.default_rng(0).uniform(-0.9, 0.9, (300, 2))
    expected = np.array([middlebury(*vector) for vector in flow])
    assert np.abs(flow_colour.colours(3 * flow, 3.0).astype(int) - expected).max() <= 1


def test_rest_is_white_and_the_legend_is_the_wheel():
    assert (flow_colour.colours(np.zeros((2, 3, 2)), 1.0) == 255).all()
    legend = flow_colour.legend(101)
    assert (legend[0, 0] == 255).all()
    assert (legend[50, 50] == 255).all()
    np.testing.assert_array_equal(legend[50, 100], [255, 0, 0])  # to the right is red
    below = flow_colour.colours(np.array([0.0, 0.8]), 1.0)
    np.testing.assert_array_equal(legend[90, 50], below)


def test_strain_is_the_networks():
    flow = np.random.default_rng(0).normal(size=(3, 9, 12, 2)).astype(np.float32)
    ours = np.stack([flow_colour.strain(field) for field in flow])
    np.testing.assert_allclose(
        ours, augment.strain(jnp.asarray(flow))[..., 0], rtol=1e-5, atol=1e-6
    )


def test_any_name_makes_a_sheet(tmp_path):
    history, record = made()
    clip = dataclasses.replace(history["source"], subject="a/b\\c $x_{1$ 小明")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = preview.write(tmp_path, {**history, "source": clip}, record)
    assert sorted(written) == sorted(tmp_path.iterdir())


def test_what_cannot_be_written_is_named(tmp_path):
    history, record = made()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: .*cannot be written"):
        preview.write(tmp_path / "file", history, record)
    (tmp_path / "synthetic-s00-00.mp4").mkdir()
    with pytest.raises(UserError, match="Fix"):
        preview.write(tmp_path, history, record)
    with pytest.raises(UserError, match=r"slices\.png"):
        preview.write_slices(tmp_path / "none" / "slices.png", history)
