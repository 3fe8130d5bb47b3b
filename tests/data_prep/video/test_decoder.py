"""The door to video files: what comes through it, and that there is no other."""

import cv2
import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.video.decoder import Sizes, Times, open_video
from helpers import ROOT

VALUES = [20, 60, 100, 140, 180]


@pytest.fixture
def path(tmp_path):
    """Five frames, 25 a second, each of one grey value."""
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for value in VALUES:
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    return path


def test_frames_come_with_their_numbers_and_times(path):
    decoder = open_video(path)
    assert (decoder.fps, decoder.header_frame_count) == (25.0, 5)
    frames = [*decoder.frames()]
    assert [frame.number for frame in frames] == [*range(5)]
    np.testing.assert_allclose([frame.pixels.mean() for frame in frames], VALUES, atol=2)
    np.testing.assert_allclose(np.diff([frame.ms for frame in frames]), 40)
    np.testing.assert_array_equal(decoder.times(), [frame.ms for frame in frames])
    assert len(decoder.times(3)) == 3


def test_the_first_frames_may_be_skipped(path):
    decoder = open_video(path)
    assert [(frame.number, round(frame.ms)) for frame in decoder.frames(3)] == [(3, 120), (4, 160)]
    assert not [*decoder.frames(5)]
    assert not [*decoder.frames(9)]


def test_a_decoder_can_be_asked_again_while_a_pass_is_under_way(path):
    decoder = open_video(path)
    one = decoder.frames()
    assert next(one).number == 0
    assert [frame.number for frame in decoder.frames(4)] == [4]
    assert next(one).number == 1


def test_what_is_no_video_is_refused_when_it_is_opened(tmp_path):
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"b\.mp4: not a video that OpenCV can read.*ffmpeg"):
        open_video(tmp_path / "b.mp4")


def test_an_end_well_before_the_announced_one_is_a_loss(path):
    decoder = open_video(path)
    assert not decoder.truncation_notes(5)
    assert "announces 5 frames and ends after 4" in decoder.truncation_notes(4)[0]


@pytest.mark.parametrize("times", [(), (7.0,), (0.0, 40.0, 40.0), (0.0, 80.0, 40.0, 120.0)])
def test_times_that_do_not_rise_say_nothing(times):
    noted = Times(times)
    assert noted.fps is None
    assert not noted.unevenness_notes() + noted.rate_notes(25.0)


def test_one_rule_tells_even_times_from_uneven_ones():
    assert Times([0.0, 40.0, 80.0]).fps == 25.0
    assert not Times(
        [0.0, 10.0, 26.0]
    ).unevenness_notes()  # 1.5 times and 1 ms longer: a clock's rounding
    assert "10 to 17 ms apart" in Times([0.0, 10.0, 27.0]).unevenness_notes()[0]


def test_only_the_first_change_of_size_is_described():
    sizes = Sizes()
    for number, width in enumerate((8, 8, 9, 8)):
        sizes.update(number, np.zeros((6, width, 3)))
    (note,) = sizes.notes()
    assert note.startswith(
        "frame 2 has 9x6 pixels and the one before 8x6 (and 1 more such changes)"
    )


def test_no_other_module_decodes_a_video():
    files = [file for name in ("data_prep", "mser_jax") for file in (ROOT / name).rglob("*.py")]
    openers = {file.name for file in files if "VideoCapture" in file.read_text(encoding="utf-8")}
    assert openers == {"decoder.py"}
