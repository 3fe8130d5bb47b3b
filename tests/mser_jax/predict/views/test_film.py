"""What the film shows over a video's frames, that it can be read back, and that none is half."""

import cv2
import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.spotting.found import Stretch
from helpers.made_answers import CLASSES, movement, video
from mser_jax.predict.views import common as answer_view
from mser_jax.predict.views import film as overlay
from mser_jax.predict.views import film_panel

COLOURS = {name: film_panel.rgb(hue) for name, hue in answer_view.colours(CLASSES).items()}
GREY = 120
FRAMES, WIDTH, HEIGHT = 45, 480, 320
MOVEMENT = movement(20, 24, 29, "surprise")


def frames(count=FRAMES, width=WIDTH, height=HEIGHT, first=0, value=GREY):
    for number in range(count):
        yield first + number, np.full((height, width, 3), value, np.uint8)


def read(path):
    """The film, `[t, h, w, 3]` RGB, and its frames a second."""
    film, images = cv2.VideoCapture(str(path)), []
    while (got := film.read())[0]:
        images.append(got[1][..., ::-1])
    return np.array(images).astype(int), film.get(cv2.CAP_PROP_FPS)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Of a face with one movement in the middle."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    overlay.write(path, frames(), video(FRAMES, [MOVEMENT]))
    assert [file.name for file in path.parent.iterdir()] == ["film.mp4"]
    return read(path)


def near(film, x, y):
    """Of each frame the pixels about a place, `[t, n, 3]`."""
    return film[:, y - 2 : y + 3, x - 2 : x + 3].reshape(len(film), -1, 3)


def test_the_film_is_as_long_and_as_fast_as_the_video(film):
    images, rate = film
    assert len(images) == FRAMES
    assert rate == pytest.approx(30)
    assert images.shape[2] == WIDTH
    assert images.shape[1] > HEIGHT + 100
    # The picture is what it was where nothing is drawn.
    np.testing.assert_allclose(images[:, 150:300, 200:400], GREY, atol=6)


def test_the_window_has_the_colour_of_what_happens(film):
    images, _ = film
    for x, y in ((40, 110), (120, 110), (120, 30)):  # its corners, but the one under the words
        pixels = near(images, x, y)
        for number in range(FRAMES):
            lasts = MOVEMENT.onset <= number <= MOVEMENT.offset
            colour = COLOURS["surprise"] if lasts else film_panel.LIGHT
            assert np.abs(pixels[number] - colour).max(axis=-1).min() < 45


def test_the_window_is_thick_at_the_marks(film):
    images, _ = film
    row = images[:, 80, 30:50]  # across its left edge
    widths = (np.abs(row - COLOURS["surprise"]).max(axis=-1) < 60).sum(axis=-1)
    thick = [number for number in range(FRAMES) if widths[number] > 3]
    assert thick == [MOVEMENT.onset, MOVEMENT.apex, MOVEMENT.offset]


def test_class_and_bars_stand_there_while_it_lasts(film):
    images, _ = film
    panel = images[:, HEIGHT:]
    pitch = film_panel.line_height(WIDTH)
    words = panel[:, : 2 * pitch, : WIDTH // 3].max(axis=(1, 2, 3)) > 180
    hues = np.abs(panel[:, : 4 * pitch, WIDTH // 2 :] - COLOURS["surprise"]).max(axis=-1)
    bars = (hues < 40).sum(axis=(1, 2)) > 100
    expected = [MOVEMENT.onset <= number <= MOVEMENT.offset for number in range(FRAMES)]
    assert words.tolist() == expected
    assert bars.tolist() == expected


def test_the_cursor_runs_through_the_course(film):
    images, _ = film
    pitch = film_panel.line_height(WIDTH)
    row = images[:, HEIGHT + round(4.2 * pitch) - 1].mean(axis=-1)  # just above the course
    places = row.argmax(axis=1)
    expected = np.linspace(pitch // 2, WIDTH - 1 - pitch // 2, FRAMES)
    np.testing.assert_allclose(places, expected, atol=2)


@pytest.mark.parametrize(
    ("width", "height", "wide", "high"),
    [(160, 160, 480, 480), (161, 121, 480, 360), (1920, 1080, 1280, 720), (1080, 1920, 720, 1280)],
)
def test_any_size_becomes_one_that_can_be_read(tmp_path, width, height, wide, high):
    path = tmp_path / "film.mp4"
    overlay.write(path, frames(3, width, height), video(3))
    images, _ = read(path)
    assert images.shape[2] == wide
    panel = images.shape[1] - high
    assert panel == film_panel.Panel(video(3), wide).height
    np.testing.assert_allclose(images[:, high - 20 : high - 4, wide - 20 :], GREY, atol=8)


@pytest.mark.parametrize("value", [0, 255])
def test_words_can_be_read_on_any_picture(value):
    drawn = overlay._FrameRenderer(video(FRAMES, [MOVEMENT]), HEIGHT, WIDTH)
    image = drawn.render(24, np.full((HEIGHT, WIDTH), value, np.uint8))  # a grey one
    tag = image[2:26, 40:110].astype(int)
    plate = np.abs(tag - COLOURS["surprise"]).max(axis=-1) < 20
    ink = np.abs(tag - film_panel.LIGHT).max(axis=-1) < 40
    assert plate.mean() > 0.4
    assert ink.mean() > 0.03


def test_what_has_no_window_is_told_in_words():
    parts = (Stretch(5, 9, "no face"), Stretch(10, 14, "unread"))
    drawn = overlay._FrameRenderer(video(FRAMES, [MOVEMENT], stretches=parts), HEIGHT, WIDTH)
    (plain, away, lost, moving) = (
        drawn.render(number, np.full((HEIGHT, WIDTH, 3), GREY, np.uint8))
        for number in (0, 6, 12, 24)
    )
    alert = [
        (np.abs(image[HEIGHT : HEIGHT + 30].astype(int) - film_panel._ALERT).max(-1) < 40).sum()
        for image in (plain, away, lost, moving)
    ]
    assert alert[0] == alert[3] == 0
    assert min(alert[1:3]) > 20
    assert (plain[:HEIGHT] == GREY).all()
    assert (moving[:26, :60].reshape(-1, 3) == COLOURS["surprise"]).all(axis=-1).sum() > 300


def test_of_two_movements_the_nearer_apex_is_told():
    other = movement(26, 34, 40, "others")
    drawn = overlay._FrameRenderer(video(FRAMES, [MOVEMENT, other]), HEIGHT, WIDTH)
    assert [drawn._answers_by_frame[n].label for n in (20, 26, 28, 30)] == ["surprise"] * 3 + [
        "others"
    ]


def test_marks_that_were_given_make_a_film_too(tmp_path):
    marked = movement(5_002, 5_003, 5_005, first=5_000, movement=None)
    given = video(6, [marked], 5_000, course=None, stretches=(), fps=23.976)
    overlay.write(tmp_path / "film.mp4", frames(6, first=5_000), given)
    images, rate = read(tmp_path / "film.mp4")
    assert len(images) == 6
    assert rate == pytest.approx(23.98)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("lost")])
def test_an_interruption_leaves_nothing_new(tmp_path, error):
    def broken():
        yield from frames(20)
        raise error

    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")
    with pytest.raises((KeyboardInterrupt, UserError)):
        overlay.write(path, broken(), video(FRAMES))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_what_cannot_be_written_is_a_mistake_to_mend(tmp_path):
    with pytest.raises(UserError, match="no frame"):
        overlay.write(tmp_path / "film.mp4", [], video())
    with pytest.raises(UserError, match=r"film\.mp4: cannot be written.*\n.*free disk space"):
        overlay.write(tmp_path / "absent" / "film.mp4", frames(3), video(3))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_noticed(tmp_path):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 255, (20, HEIGHT, WIDTH, 3), np.uint8)
    _, limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit))
    try:
        with pytest.raises(UserError, match="the disk may be full"):
            overlay.write(tmp_path / "film.mp4", enumerate(noise), video(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    assert not list(tmp_path.iterdir())
