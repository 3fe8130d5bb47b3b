"""One pass over a video or a folder of frames: what is given, and what is told of it."""

import cv2
import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.video.decoder import Times
from data_prep.video.stream import open_stream


def film(path, count, fps=25.0, size=(64, 48)):
    """A video whose frame i has the grey value 10 i + 20."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
    for index in range(count):
        writer.write(np.full((size[1], size[0], 3), 10 * index + 20, np.uint8))
    writer.release()
    return path


def folder(path, numbers, size=(48, 64)):
    for number in numbers:
        cv2.imwrite(str(path / f"img{number:04d}.png"), np.full((*size, 3), number, np.uint8))
    return path


def test_a_video_is_given_frame_by_frame(tmp_path):
    stream = open_stream(film(tmp_path / "a.avi", 20))
    assert (stream.fps, stream.expected_count) == (25.0, 20)
    shots = list(stream)
    assert [number for number, _ in shots] == [*range(20)]
    values = [int(frame.mean()) for _, frame in shots if frame is not None]
    np.testing.assert_allclose(values, 10 * np.arange(20) + 20, atol=2)
    assert not stream.notes


def test_it_may_start_later(tmp_path):
    stream = open_stream(film(tmp_path / "a.avi", 20), start=7)
    number, frame = next(iter(stream))
    assert frame is not None
    assert (number, stream.expected_count) == (7, 13)
    assert frame.mean() == pytest.approx(90, abs=2)
    with pytest.raises(UserError, match="ends after 20"):
        list(open_stream(tmp_path / "a.avi", start=30))


def test_colours_are_red_green_blue(tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48)
    )
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (20, 60, 200), np.uint8))
    writer.release()
    _, frame = next(iter(open_stream(tmp_path / "a.avi")))
    assert frame is not None
    np.testing.assert_allclose(frame[20, 20], (200, 60, 20), atol=6)


def test_the_user_knows_the_rate_best(tmp_path):
    stream = open_stream(film(tmp_path / "a.avi", 20), fps=200.0)
    assert len(list(stream)) == 20
    assert stream.fps == 200.0
    assert not stream.notes
    with pytest.raises(UserError, match=r"--fps=0\.5"):
        open_stream(tmp_path / "a.avi", fps=0.5)


def test_a_part_that_is_lost_is_told_afterwards(tmp_path):
    path = film(tmp_path / "a.avi", 20, size=(320, 240))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    stream = open_stream(path)
    assert not stream.notes
    count = len(list(stream))
    assert 5 <= count < 19
    assert f"announces 20 frames and ends after {count}" in stream.notes[0]


def test_what_is_no_video_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("no video")
    with pytest.raises(UserError, match="not a video that OpenCV can read"):
        open_stream(path)
    with pytest.raises(UserError, match="1 frames can be decoded"):
        open_stream(film(tmp_path / "b.avi", 1))
    with pytest.raises(UserError, match="there is no such video"):
        open_stream(tmp_path / "c.avi")


def test_a_folder_has_the_numbers_of_its_files(tmp_path):
    stream = open_stream(folder(tmp_path, range(5, 12)), fps=50.0, start=7)
    shots = list(stream)
    assert [number for number, _ in shots] == [*range(7, 12)]
    assert [int(frame[0, 0, 0]) for _, frame in shots if frame is not None] == [*range(7, 12)]
    assert stream.expected_count == 5
    assert not stream.notes


def test_a_folder_needs_a_rate_and_the_frame_asked_for(tmp_path):
    folder(tmp_path, range(3))
    with pytest.raises(UserError, match="--fps=200"):
        open_stream(tmp_path)
    with pytest.raises(UserError, match="frame 9 does not exist; the frames are numbered 0 to 2"):
        open_stream(tmp_path, fps=50.0, start=9)


def test_a_stray_picture_with_a_number_is_no_frame_of_a_long_video(tmp_path):
    folder(tmp_path, range(20))
    cv2.imwrite(str(tmp_path / "cover_20240105.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(UserError, match=r"before cover_20240105\.png.*Fix"):
        open_stream(tmp_path, fps=50.0)


def test_gaps_are_those_of_the_whole_folder_wherever_it_starts(tmp_path):
    numbers = [*range(90), *range(91, 100, 2)]
    folder(tmp_path, numbers)
    notes = []
    for start in (0, 92):
        stream = open_stream(tmp_path, fps=50.0, start=start)
        assert min(number for number, frame in stream if frame is not None) >= start
        notes.append(stream.notes)
    assert notes[0] == notes[1]


def test_one_unreadable_picture_ends_nothing(tmp_path):
    folder(tmp_path, range(10))
    (tmp_path / "img0004.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "img0007.png").unlink()
    stream = open_stream(tmp_path, fps=50.0)
    absent = [number for number, frame in stream if frame is None]
    assert absent == [4, 7]
    assert "1 numbers between 0 and 9 have no frame" in stream.notes[0]
    assert "img0004.png: not a readable picture" in stream.notes[1]


def test_every_other_number_is_no_gap_but_a_step(tmp_path):
    with pytest.raises(UserError, match=r"first after img0000\.png"):
        open_stream(folder(tmp_path, range(0, 20, 2)), fps=50.0)


def test_grey_pictures_become_colour(tmp_path):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((9, 9), 40_000, np.uint16))
    _, frame = next(iter(open_stream(tmp_path, fps=50.0)))
    assert frame is not None
    assert frame.shape == (9, 9, 3)
    # As the training has it: nothing is rounded.
    np.testing.assert_allclose(frame, 40_000 / 65_535 * 255, rtol=1e-6)


def test_a_change_of_size_is_told(tmp_path):
    folder(tmp_path, range(3))
    folder(tmp_path, range(3, 6), size=(24, 32))
    stream = open_stream(tmp_path, fps=50.0)
    assert len(list(stream)) == 6
    assert stream.notes == (
        "frame 3 has 32x24 pixels and the one before 64x48; this is treated as a cut.",
    )


def taken(steps, fps):
    times = Times(np.cumsum([0.0, *steps]))
    return [*times.unevenness_notes(), *times.rate_notes(fps)]


def test_a_rate_that_changes_is_told():
    notes = taken([33.0] * 10 + [67.0] * 10, 25.0)
    assert "33 to 67 ms apart" in notes[0]
    assert "20 frames a second on average, but 25 are used" in notes[1]
    assert not taken([40.0] * 20, 25.0)
    assert not taken([33.0, 34.0] * 10, 30.0)  # rounded by a clock of whole milliseconds


def test_times_that_do_not_rise_are_left_alone():
    assert not taken([0.0] * 10, 25.0)
