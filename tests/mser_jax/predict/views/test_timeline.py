"""What the picture of a video's movements shows, and how long it takes to draw."""

import time

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend

from data_prep.common.errors import UserError
from data_prep.spotting.found import Stretch
from helpers.made_answers import CLASSES, course, movement, video
from mser_jax.predict.views import common as answer_view
from mser_jax.predict.views import timeline
from mser_jax.report import plots, wording

COLOURS = answer_view.colours(CLASSES)


def picture(figure):
    data = np.frombuffer(plots.png(figure), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1].astype(int)


def at(figure, image, seconds, height):
    """The picture where a time and a share of the upper part's height are."""
    axes = figure.axes[0]
    x = axes.transData.transform((seconds, 0))[0] / figure.bbox.width
    y = axes.transAxes.transform((0, height))[1] / figure.bbox.height
    rows, columns = image.shape[:2]
    return image[round((1 - y) * rows), round(x * columns)]


def labels(figure):
    """The words in the upper part that are shown, by their number."""
    return {int(text.get_text().split()[0]): text for text in figure.axes[0].texts}


def legend(figure):
    (found,) = (each for each in figure.axes[0].get_children() if isinstance(each, Legend))
    return [text.get_text() for text in found.get_texts()]


def spread(count, frames):
    """That many movements of all classes in turn, evenly over the video."""
    apexes = np.linspace(30, frames - 30, count).astype(int).tolist()
    return [movement(a - 6, a, a + 6, CLASSES[n % 3]) for n, a in enumerate(apexes)]


def test_an_interval_has_the_colour_of_its_class():
    figure = timeline.timeline(video(answers=[movement(30, 42, 54, "others")]))
    image = picture(figure)
    shade = 255 * (1 + 0.28 * (np.array(to_rgb(COLOURS["others"])) - 1))
    for seconds in (1.1, 1.7):
        np.testing.assert_allclose(at(figure, image, seconds, 0.6), shade, atol=3)
    for seconds in (0.9, 1.9):
        assert at(figure, image, seconds, 0.6).min() == 255
    line = [at(figure, image, 1.4 + shift, 0.6) for shift in np.linspace(-0.01, 0.01, 41)]
    apex = np.array(to_rgb(COLOURS["others"])) * 255
    assert np.abs(np.array(line) - apex).max(axis=1).min() < 12


def test_the_peaks_stand_in_the_course():
    seen = video(answers=[movement(30, 42, 54)])
    drawn, threshold = timeline.timeline(seen).axes[0].lines
    frame, values = np.array(drawn.get_xdata()) * 30, np.array(drawn.get_ydata())
    assert frame[values.argmax()] == pytest.approx(42)
    assert set(np.array(threshold.get_ydata())) == {np.float32(0.1)}


def test_what_is_unknown_is_hatched_and_named():
    parts = (Stretch(0, 29, "face"), Stretch(30, 59, "no face"), Stretch(60, 89, "unread"))
    figure = timeline.timeline(video(stretches=parts, course=course(90, skip=range(25, 90))))
    names = ["movement", "what a peak must exceed", "no face", "cannot be decoded", "not measured"]
    assert legend(figure) == names
    image = picture(figure)
    for start in (0.9, 1.5, 2.5):
        inks = [at(figure, image, start + step, 0.5).min() for step in np.linspace(0, 0.05, 40)]
        assert max(inks) < 255
        assert np.ptp(inks) > 30
    inks = [at(figure, image, 0.3 + step, 0.55).min() for step in np.linspace(0, 0.4, 40)]
    assert min(inks) == 255


@pytest.mark.parametrize("count", [1, 12, 13, 60, 300])
def test_labels_never_overlap_and_stay_inside(count):
    figure = timeline.timeline(video(216_000, spread(count, 216_000)))
    figure.set_dpi(150)  # as it is saved
    figure.draw_without_rendering()
    shown = labels(figure)
    boxes = [text.get_window_extent() for text in shown.values()]
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    whole = figure.axes[0].get_window_extent()
    assert all(whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1 for box in boxes)
    if count <= 12:
        words = [f"{n + 1}  {CLASSES[n % 3]} 62%" for n in range(count)]
        assert [text.get_text() for text in shown.values()] == words
    assert len(shown) >= min(count, 40)


@pytest.mark.parametrize("count", [2, 59])
def test_bars_are_as_long_as_the_class_is_probable(count):
    lower = timeline.timeline(video(answers=spread(count, 900), frames=900)).axes[1]
    bars = lower.collections[1::2]  # each on its track
    extents = [np.ptp(path.vertices, axis=0) for path in bars[1].get_paths()]
    lengths = np.array(extents)[:, 0 if count < 12 else 1]
    certain = 0.56 if count < 12 else 0.74
    expected = [0.62 if n % 3 == 1 else 0.19 for n in range(count)]
    np.testing.assert_allclose(lengths / certain, expected, atol=1e-6)
    names = [text.get_text() for text in lower.get_yticklabels()]
    assert names == list(CLASSES[::-1])
    percents = [text.get_text() for text in lower.texts]
    assert percents == (["62%", "19%", "19%", "62%", "19%", "19%"] if count == 2 else [])


def test_two_hours_take_little_longer_than_five_minutes():
    """Neither the frames nor the movements may each cost a drawing; CPU time, best of two."""

    def seconds(frames, movements):
        answer = video(frames, spread(movements, frames))
        started = time.process_time()
        assert picture(timeline.timeline(answer)).shape[1] < 2500
        return time.process_time() - started

    seconds(9_000, 6)  # the first picture loads the fonts
    five_minutes = min(seconds(9_000, 6) for _ in range(2))
    two_hours = min(seconds(216_000, 60) for _ in range(2))
    assert two_hours < 3.5 * five_minutes


def test_the_course_of_two_hours_is_a_line_of_few_points():
    lines = timeline.timeline(video(216_000, spread(60, 216_000))).axes[0].lines
    assert len(lines) == 2  # the movement, and what a peak must exceed
    assert all(1_000 < np.size(line.get_xdata()) < 10_000 for line in lines)


@pytest.mark.parametrize(
    ("frames", "first", "told"),
    [(60, 0, "0.2 s"), (60, 5_000, "0.2 s"), (9_000, 0, "0:30"), (216_000, 7, "1:10:00")],
)
def test_times_are_told_in_their_size(frames, first, told):
    axes = timeline.timeline(video(frames, first=first)).axes[0]
    axes.figure.canvas.draw()
    assert told in [text.get_text() for text in axes.get_xticklabels()]


def test_given_marks_are_shown_alone():
    marked = movement(5_300, 5_306, 5_312, first=5_000, movement=None)
    seen = video(9_000, [marked], 5_000, course=None, stretches=())
    upper = timeline.timeline(seen).axes[0]
    assert not upper.lines
    assert not any(isinstance(child, Legend) for child in upper.get_children())
    assert upper.get_xlim() == pytest.approx((288 / 30 - 1 / 60, 324 / 30 + 1 / 60))


def test_where_nothing_was_found_the_picture_says_so():
    figure = timeline.timeline(video())
    assert [text.get_text() for text in figure.axes[0].texts] == [answer_view.NO_MOVEMENT]
    assert len(figure.axes) == 1
    assert figure.get_supxlabel() == wording.WARNING
    for empty in (video(course=course(0)), video(course=None, stretches=())):
        picture(timeline.timeline(empty))


def test_any_name_can_be_drawn(tmp_path, recwarn):
    classes = ("$a_b$", "微表情", "c")
    found = [movement(30, 42, 54, "$a_b$", classes=classes)]
    source = "/x/$" + "微表情" * 40 + "_$.mp4"
    timeline.write(tmp_path / "timeline.png", video(answers=found, classes=classes, source=source))
    assert cv2.imread(str(tmp_path / "timeline.png")) is not None
    assert not recwarn.list
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match=r"timeline\.png"):
        timeline.write(tmp_path / "absent" / "timeline.png", video())
