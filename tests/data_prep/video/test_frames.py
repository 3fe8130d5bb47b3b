"""Frames from folders and videos: order, depth, faults, and how many are in memory at once."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.video import pictures
from data_prep.video.frames import Video, marks_to_indices, open_frames
from data_prep.video.pictures import Images, frame_paths

RAMP = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]  # OpenCV 4.10's own choice loses of floating point
    assert cv2.imwrite(str(path), picture, plain if path.suffix == ".tif" else [])
    return path


def draw(folder, names, shape=(6, 8)):
    """Frames of which the first pixel tells the position in `names`."""
    for position, name in enumerate(names):
        picture = np.full(shape, 7, np.uint8)
        picture[0, 0] = position
        save(folder / name, picture)


def film(path, count, fps=25.0, codec="MJPG", size=(64, 48)):
    """A video whose frame i has the grey value 10 i + 20."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    for index in range(count):
        writer.write(np.full((size[1], size[0], 3), 10 * index % 200 + 20, np.uint8))
    writer.release()
    return path


def test_frames_come_in_numeric_order_and_strangers_are_left_out(tmp_path):
    draw(tmp_path, ["reg_img10.png", "reg_img9.bmp", "x_0011.tif"])
    for stranger in ("Thumbs1.db", "._x_0011.jpg", "cover.png"):
        (tmp_path / stranger).write_bytes(b"")
    frames = open_frames(tmp_path)
    assert [*frames.numbers] == [9, 10, 11]
    assert [frame[0, 0] for frame in frames] == [1, 0, 2]
    assert [frame[0, 0] for frame in frames.part(1, 3)] == [0, 2]
    assert not frames.notes


def test_numbers_without_a_frame_are_told(tmp_path):
    draw(tmp_path, ["1.png", "2.png", "5.png"])
    assert "2 numbers between 1 and 5" in open_frames(tmp_path).notes[0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_by_their_type_and_keep_their_precision(tmp_path, suffix):
    grey = pictures.read(save(tmp_path / f"a{suffix}", RAMP))
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, RAMP / 65535 * 255, rtol=1e-6)
    dark = pictures.read(save(tmp_path / f"b{suffix}", RAMP // 16))
    np.testing.assert_allclose(dark, RAMP // 16 / 65535 * 255, rtol=1e-6)  # not by its content


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_stands_for_0_to_1(tmp_path, dtype):
    colour = np.dstack([RAMP / 65535] * 2 + [np.zeros((8, 8))]).astype(dtype)  # no red
    read = pictures.read(save(tmp_path / "a.tif", colour))
    assert read.dtype == np.float32
    np.testing.assert_allclose(read[..., 2], RAMP / 65535 * 255, rtol=1e-6)
    assert not read[..., 0].any()


def test_colour_is_rgb_and_a_transparent_channel_is_dropped(tmp_path):
    red = np.zeros((4, 4, 4), np.uint8)
    red[..., 2], red[..., 3] = 200, 128
    for picture in (red, red[..., :3]):
        read = pictures.read(save(tmp_path / "a.png", picture))
        assert read.dtype == np.uint8
        assert read.shape == (4, 4, 3)
        assert read[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("values", [RAMP.astype(np.int16) - 3, RAMP.astype(np.float32)])
def test_values_without_a_known_range_are_refused(tmp_path, values):
    with pytest.raises(UserError, match=r"a\.tif: .* from .* to .*convert the frames"):
        pictures.read(save(tmp_path / "a.tif", values))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".pgm"])
def test_a_file_that_was_cut_short_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    path = save(tmp_path / f"f1{suffix}", noise)
    whole = path.read_bytes()
    for keep in (0.5, 0.9):
        path.write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(UserError, match=rf"f1\{suffix}: not a readable picture"):
            pictures.read(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=rf"f1\{suffix}: the file is empty"):
        pictures.read(path)


def test_what_follows_the_end_of_a_picture_does_no_harm(tmp_path):
    path = save(tmp_path / "a.jpg", np.full((8, 8), 90, np.uint8))
    path.write_bytes(path.read_bytes() + b"\0camera's own notes")
    assert abs(int(pictures.read(path)[3, 3]) - 90) < 3


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (np.zeros((6, 9), np.uint8), r"3\.png: 9 x 6 grey, uint8, but 1\.png is 8 x 6 grey, uint8"),
        (np.zeros((6, 8, 3), np.uint8), r"3\.png: 8 x 6 colour"),
        (np.zeros((6, 8), np.uint16), r"3\.png: 8 x 6 grey, float32"),
    ],
)
def test_frames_of_one_clip_are_alike(tmp_path, odd, message):
    draw(tmp_path, ["1.png", "2.png"])
    save(tmp_path / "3.png", odd)
    frames = open_frames(tmp_path)
    with pytest.raises(UserError, match=message):
        list(frames)


def test_a_frame_that_is_gone_is_named(tmp_path):
    draw(tmp_path, ["1.png", "2.png"])
    frames = open_frames(tmp_path)
    (tmp_path / "2.png").unlink()
    with pytest.raises(UserError, match=r"2\.png: cannot be opened"):
        frames[1]


def test_folders_that_are_no_clip_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no such video or folder"):
        open_frames(tmp_path / "none")
    with pytest.raises(UserError, match="is absent"):
        frame_paths(tmp_path / "none")
    draw(tmp_path / "one", ["1.png"])
    with pytest.raises(UserError, match=r"one: 1 numbered frames .* at least 2"):
        open_frames(tmp_path / "one")
    with pytest.raises(UserError, match="this is one picture"):
        open_frames(tmp_path / "one" / "1.png")
    draw(tmp_path / "twice", ["img1.png", "img01.jpg"])
    with pytest.raises(
        UserError, match=r"twice: frame 1 occurs twice, as img01\.jpg and img1\.png"
    ):
        open_frames(tmp_path / "twice")


def test_a_frame_is_read_only_when_it_is_asked_for(tmp_path, monkeypatch):
    draw(tmp_path, [f"{index}.png" for index in range(5)])
    read = []
    original = pictures.read
    monkeypatch.setattr(pictures, "read", lambda path: read.append(path.name) or original(path))
    frames = open_frames(tmp_path)
    assert len(frames) == 5
    assert not read
    frames[3]
    assert read == ["3.png", "0.png"]  # 0 to compare with
    list(frames)
    assert len(read) == 2 + 5


def values(frames):
    return [round((float(frame.mean()) - 20) / 10) for frame in frames]


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_a_video_is_the_same_in_order_by_number_and_in_part(tmp_path, name, codec):
    video = open_frames(film(tmp_path / name, 12, fps=200.0, codec=codec))
    assert len(video) == 12
    assert video.fps == pytest.approx(200.0, rel=0.01)
    assert values(video) == [*range(12)]
    assert values([video[index] for index in (7, 0, -1)]) == [7, 0, 11]
    assert video[0].shape == (48, 64, 3)
    part = video.part(4, 99)
    assert ([*part.numbers], values(part)) == ([*range(4, 12)],) * 2
    assert values([part[1]]) == [5]
    (tmp_path / name).rename(tmp_path / f"moved-{name}")
    assert len(video.part(2, 7)) == 5  # without another pass to count them
    (tmp_path / f"moved-{name}").rename(tmp_path / name)
    assert not video.notes
    with pytest.raises(IndexError):
        video[12]


def test_a_video_may_be_stopped_before_its_end(tmp_path):
    video = open_frames(film(tmp_path / "a.avi", 12), stop=5)
    assert values(video) == [*range(5)]
    assert not video.notes


def test_the_number_of_frames_is_counted_and_a_lost_end_is_told(tmp_path):
    path = film(tmp_path / "a.avi", 20, size=(320, 240))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    video = open_frames(path)
    assert 8 <= len(video) < 15
    assert values(video) == [*range(len(video))]
    assert f"announces 20 frames and ends after {len(video)}" in video.notes[0]


stops_at_the_header = pytest.mark.skipif(
    cv2.__version__ < "5", reason="OpenCV 4 decodes no more frames than the header announces"
)


@pytest.mark.parametrize("wrong", [pytest.param(3, marks=stops_at_the_header), 4_000_000_000])
def test_a_wrong_number_of_frames_in_the_header_changes_nothing(tmp_path, wrong):
    path = film(tmp_path / "a.avi", 10)
    content = bytearray(path.read_bytes())
    for at in (content.index(b"avih") + 24, content.index(b"strh") + 40):  # dwTotalFrames, dwLength
        assert int.from_bytes(content[at : at + 4], "little") == 10
        content[at : at + 4] = wrong.to_bytes(4, "little")
    path.write_bytes(content)
    assert values(open_frames(path)) == [*range(10)]


@pytest.mark.parametrize("content", [b"", b"no video at all", "cut"])
def test_a_file_that_is_no_video_is_named(tmp_path, content):
    path = film(tmp_path / "a.mp4", 20, codec="mp4v")
    path.write_bytes(path.read_bytes()[:1500] if content == "cut" else content)
    with pytest.raises(UserError, match=r"a\.mp4: not a video that OpenCV can read"):
        len(open_frames(path))


def test_a_video_of_one_frame_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.avi: 1 frames can be decoded, at least 2"):
        len(open_frames(film(tmp_path / "a.avi", 1)))


@pytest.mark.parametrize("times", [[0, 0, 0], [0, 0.001, 0.002], [5, 4, 3], [0, 9e9, 18e9]])
def test_times_that_make_no_sense_give_no_rate(tmp_path, times):
    video: Any = Video(tmp_path / "a.avi")
    video._times = np.array(times)
    assert video.fps is None


def test_uneven_times_are_told(tmp_path):
    video: Any = open_frames(film(tmp_path / "a.avi", 3))
    video._times = np.array([0.0, 33.0, 100.0])
    assert video.fps == 20.0
    assert "33 to 67 ms apart" in video.notes[0]


def test_a_long_video_is_never_held_whole(tmp_path):
    count, size = 400, (160, 120)
    path = film(tmp_path / "a.avi", count, size=size)
    frame = 3 * size[0] * size[1]

    def peak(use):
        tracemalloc.start()
        try:
            use(open_frames(path))
            return tracemalloc.get_traced_memory()[1] / frame
        finally:
            tracemalloc.stop()

    assert peak(lambda video: sum(1 for _ in video)) < 10
    assert peak(list) > count  # what the measure sees of frames that are kept


@pytest.mark.parametrize(
    ("marks", "indices"),
    [
        ((12, 14, 16), (2, 4, 6)),
        ((None, None, None), (0, None, 9)),
        ((12, None, None), (2, None, 9)),
        ((10, 10, 19), (0, 0, 9)),
    ],
)
def test_marks_are_frame_numbers(marks, indices):
    assert marks_to_indices(range(10, 20), *marks, source="a", remedy="") == indices


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ((16, None, 12), "not in this order"),
        ((12, 11, 16), "not in this order"),
        ((12, None, 12), "not in this order"),
        ((12, None, 25), r"a: 6 of the frames 12 to 25 are absent, first 20; .* Mend"),
        ((0, None, 12), "10 of the frames 0 to 12"),
        ((None, 30, None), "not in this order"),
    ],
)
def test_marks_that_cannot_be_are_refused(marks, message):
    with pytest.raises(UserError, match=message):
        marks_to_indices(range(10, 20), *marks, source="a", remedy="Mend it.")


def test_a_gap_between_marks_is_refused_and_without_marks_told(tmp_path):
    paths = {number: tmp_path / f"{number}.png" for number in (1, 2, 5, 6)}
    frames = Images(paths)
    assert marks_to_indices(frames.numbers, None, None, None, source="a", remedy="") == (0, None, 3)
    with pytest.raises(UserError, match="2 of the frames 1 to 6 are absent, first 3"):
        marks_to_indices(frames.numbers, 1, None, 6, source="a", remedy="")
    with pytest.raises(UserError, match="absent"):
        marks_to_indices(frames.numbers, None, 3, None, source="a", remedy="")
