"""Magnification of a moving sinusoid, whose magnified displacement is known."""

import dataclasses
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.signal

from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.stages import magnify

SIDE = 192
FPS = 100.0
SETTINGS: dict[str, Any] = dict(
    alpha=4.0, band=(1.0, 8.0), filter="ideal", wavelength=4.0, levels=6
)


def moving_stripes(displacement, fps=FPS, onset=0, wavelength=24.0):
    """Vertical stripes that have moved by `displacement[t]` px to the right in frame t."""
    x = np.arange(SIDE) - np.asarray(displacement)[:, None]
    rows = 128 + 40 * np.cos(2 * np.pi * x / wavelength)
    return clip_of(np.repeat(rows[:, None, :], SIDE, axis=1).astype(np.float32), fps, onset)


def clip_of(frames, fps=FPS, onset=0):
    return Clip(frames, fps, onset, None, len(frames) - 1, "s", "c", "positive", "joy", "test")


def displacement_of(frames, wavelength=24.0):
    """The displacement of the stripes in px, from their phase over whole wavelengths."""
    window = slice(SIDE // 2 - 48, SIDE // 2 + 48)
    carrier = np.exp(2j * np.pi * np.arange(SIDE)[window] / wavelength)
    return np.angle(frames[:, 48:-48, window].mean(axis=1) @ carrier) * wavelength / (2 * np.pi)


def swing(hertz, fps=FPS, seconds=1.0, reach=0.03):
    times = (np.arange(round(seconds * fps)) + 0.5) / fps
    return reach * np.cos(2 * np.pi * hertz * times)


def magnified(clip, **settings):
    return np.asarray(magnify.magnify(clip, **{**SETTINGS, **settings}).frames)


def noted(clip, **settings):
    return magnify.magnify(clip, **{**SETTINGS, **settings}).notes


def gain(hertz, fps=FPS, stripes=24.0, **settings):
    """By how much a swing of `hertz` is enlarged; `stripes` is their wavelength in px."""
    before = swing(hertz, fps)
    after = displacement_of(magnified(moving_stripes(before, fps, 0, stripes), **settings), stripes)
    before, after = before - before[0], after - after[0]
    return after @ before / (before @ before)


@pytest.mark.parametrize("hertz", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("alpha", [1.0, 4.0, 9.0])
def test_gain_inside_the_band(hertz, alpha):
    assert gain(hertz, alpha=alpha) == pytest.approx(1 + alpha, rel=0.02)


@pytest.mark.parametrize("filter", ["ideal", "butterworth"])
@pytest.mark.parametrize("fps", [25.0, 60.0, 200.0])
@pytest.mark.parametrize("stripes", [6.0, 16.0, 48.0])
def test_gain_at_every_wavelength_and_frame_rate(filter, fps, stripes):
    asked = dict(filter=filter, band=(0.5, 6.0), levels=9)
    assert gain(2.0, fps, stripes, **asked) == pytest.approx(5.0, rel=0.03)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("stripes", [12.0, 24.0, 48.0])
def test_displacement_up_to_the_bound(share, stripes):
    """(1 + alpha) d at `share` of the bound of an eighth of the wavelength.

    Eq. (3.6) of a cosine is a cosine again, so its displacement is known beyond first order; at
    the bound itself it is a ninth short of (1 + alpha) d.
    """
    alpha = 4.0
    reach = share * stripes / 8 / (1 + alpha)
    moved = 0.5 * (swing(1.0, reach=reach) - reach)  # from 0 to -reach
    after = displacement_of(magnified(moving_stripes(moved, FPS, 0, stripes)), stripes)
    angle = 2 * np.pi * (moved - moved[0]) / stripes
    turned = np.arctan2((1 + alpha) * np.sin(angle), (1 + alpha) * np.cos(angle) - alpha)
    expected = turned * stripes / (2 * np.pi)
    np.testing.assert_allclose(after - after[0], expected, atol=0.02 * np.abs(expected).max())
    shortfall = {0.25: 0.03, 0.5: 0.06, 1.0: 0.13}[share]
    furthest = np.abs(moved - moved[0]).max()
    assert np.abs(after - after[0]).max() >= (1 - shortfall) * (1 + alpha) * furthest


def test_textbook_magnification_gives_the_same_frames():
    """Wu et al. with one alpha for all levels: I + alpha (band-passed I), here by np.fft."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE)))
    wave = np.hypot(*np.meshgrid(*[np.fft.fftfreq(SIDE)] * 2))
    spectrum *= (wave > 1 / 16) & (wave < 1 / 6)  # no light, which the pyramid leaves alone
    right = np.fft.fftfreq(SIDE)
    moved = swing(2.0) + swing(20.0)
    still = [np.fft.ifft2(spectrum * np.exp(-2j * np.pi * right * d)).real for d in moved]
    frames = 128 + 15 * np.stack(still) / np.std(still[0])
    mirrored = np.concatenate([frames, frames[::-1]])
    hertz = np.fft.rfftfreq(len(mirrored), 1 / FPS)
    kept = np.fft.rfft(mirrored, axis=0) * ((hertz >= 1) & (hertz <= 8))[:, None, None]
    passed = np.fft.irfft(kept, len(mirrored), axis=0)[: len(frames)]
    expected = frames + 4 * (passed - passed[0])
    inner = np.s_[:, 24:-24, 24:-24]  # the reference goes round at the edges, the pyramid mirrors
    change = np.abs(expected - frames)[inner].max()
    found = magnified(clip_of(frames.astype(np.float32)))
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.03 * change)


@pytest.mark.parametrize("hertz", [0.5, 8.5, 30.0])
def test_no_gain_outside_the_band(hertz):
    assert gain(hertz) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("hertz", "most"), [(0.2, 0.05), (30.0, 0.02)])
def test_butterworth_dies_away_outside_the_band(hertz, most):
    # A slow movement needs a long clip: in a short one it is a trend, which no filter tells apart.
    before = swing(hertz, 70.0, seconds=5.0)
    frames = magnified(moving_stripes(before, 70.0), filter="butterworth", alpha=1.0)
    after = displacement_of(frames)
    after, before = after - after[0], before - before[0]
    assert after @ before / (before @ before) == pytest.approx(1.0, abs=most)


@pytest.mark.parametrize("filter", ["ideal", "butterworth"])
def test_a_camera_too_slow_for_the_upper_end_of_the_band(filter):
    assert gain(4.0, 12.0, filter=filter) == pytest.approx(5.0, rel=0.03)


def test_butterworth_is_scipys_run_both_ways():
    clip = moving_stripes(swing(2.0, 50.0), 50.0)
    signal = np.random.default_rng(0).normal(size=100)
    sections = scipy.signal.butter(
        magnify.BUTTERWORTH_ORDER, (2.0, 10.0), "bandpass", fs=50.0, output="sos"
    )
    mirrored = np.concatenate([signal[::-1], signal] * 7 + [signal[::-1]])
    expected = scipy.signal.sosfiltfilt(sections, mirrored)[700:800]
    response = magnify._gain(100, clip, (2.0, 10.0), "butterworth")
    np.testing.assert_allclose(magnify._filter(signal, response), expected, atol=1e-6)


@pytest.mark.parametrize("filter", ["ideal", "butterworth"])
@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.5])
def test_one_slow_pulse_keeps_its_time_and_does_not_ring(filter, seconds):
    fps, start, peak = 200.0, 0.05, 0.2
    times = np.arange(round((seconds + 0.1) * fps)) / fps
    inside = (times >= start) & (times <= start + seconds)
    pulse = peak * np.where(inside, 0.5 - 0.5 * np.cos(2 * np.pi * (times - start) / seconds), 0)
    after = displacement_of(magnified(moving_stripes(pulse, fps), filter=filter, band=(0.5, 8.0)))
    assert after.max() == pytest.approx(5 * peak, rel=0.12)
    assert abs(after.argmax() - pulse.argmax()) <= 1
    assert np.abs(after[~inside]).max() < 0.08 * after.max()


def test_onset_frame_is_kept():
    clip = moving_stripes(swing(2.0), onset=7)
    found = magnified(clip)
    np.testing.assert_array_equal(found[7], clip.frames[7])
    assert np.abs(found[30] - clip.frames[30]).max() > 1


@pytest.mark.parametrize("filter", ["ideal", "butterworth"])
def test_no_movement_stays_none(filter):
    frames = np.random.default_rng(0).uniform(0, 255, (64, 48)).astype(np.float32)
    still = np.repeat(frames[None], 40, axis=0)
    np.testing.assert_allclose(magnified(clip_of(still), filter=filter), still, atol=2e-3)


def test_no_amplification_changes_nothing():
    clip = moving_stripes(swing(2.0))
    np.testing.assert_array_equal(magnified(clip, alpha=0.0), clip.frames)


def texture(seed=0):
    """A smooth random picture with structure of 20 to 60 px."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 6.0) - cv2.GaussianBlur(noise, (0, 0), 12.0)
    return 128 + 25 * picture / picture.std()


def shifted(picture, right, down):
    matrix = np.array([[1, 0, right], [0, 1, down]])
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("way", [(1.0, 0.0), (0.0, -1.0), (0.6, 0.8)])
def test_a_movement_that_is_too_large_is_told_with_its_size(way):
    course = 0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, 50))

    def notes(reach, **marks):
        frames = np.stack([shifted(texture(), *(reach * at * np.array(way))) for at in course])
        clip = dataclasses.replace(clip_of(frames), notes=("Dark.",), **marks)
        return noted(clip, alpha=2.0, wavelength=32.0)  # holds up to 32 / (8 (1 + 2)) = 1.3 px

    assert notes(0.8) == ("Dark.",)
    before, told = notes(3.0)
    assert before == "Dark."
    assert "magnification holds up to 1.3 px" in told
    found = float(re.findall(r"about ([\d.]+) px", told)[0])
    assert found == pytest.approx(3.0, rel=0.25)
    assert notes(3.0, offset=5) == ("Dark.",)  # it moves after the offset


@pytest.mark.parametrize("alpha", [0.0, 4.0])
def test_where_nothing_is_magnified_there_is_nothing_to_tell(alpha):
    flat = clip_of(np.linspace(0, 255, 60)[:, None, None] * np.ones((1, 32, 32)))
    assert not noted(flat, alpha=alpha)
    far = moving_stripes(np.linspace(0, 9, 60))
    assert bool(noted(far, alpha=alpha)) == (alpha > 0)


def test_alpha_falls_with_the_wavelength():
    # (1 + alpha) d < wavelength / 8 with alpha 4 at 16 px allows d = 0.4 px everywhere.
    levels = [magnify._level_alpha(4.0, 16.0, level) for level in range(5)]
    np.testing.assert_allclose(levels, [0.25, 1.5, 4.0, 4.0, 4.0])
    assert magnify._level_alpha(4.0, 64.0, 0) == 0.0


def test_gain_rises_from_fine_stripes_to_coarse_ones():
    gains = [gain(2.0, stripes=stripes, wavelength=16.0) for stripes in (4.0, 8.0, 16.0, 32.0)]
    assert np.all(np.diff(gains) > 0.3)
    assert gains[0] < 2.0 < 4.5 < gains[-1] < 5.1


def test_flicker_of_the_light_is_not_enlarged():
    flicker = 1 + 0.02 * np.cos(2 * np.pi * 2.0 * np.arange(100) / 100)
    frames = (120 * flicker)[:, None, None] * np.ones((1, 64, 64))
    np.testing.assert_allclose(magnified(clip_of(frames)), frames, atol=0.01)


def test_frames_stay_in_their_range():
    stripes = moving_stripes(swing(2.0, reach=1.0))
    clip = dataclasses.replace(
        stripes, frames=np.clip(np.asarray(stripes.frames) * 2 - 128, 0, 255)
    )
    found = magnified(clip)
    assert found.dtype == np.float32
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("shape", [(61, 97), (33, 40), (5, 9)])
def test_frames_of_odd_sizes(shape):
    frames = np.random.default_rng(0).uniform(0, 255, (20, *shape)).astype(np.float32)
    assert magnified(clip_of(frames)).shape == (20, *shape)


@pytest.mark.parametrize("filter", ["ideal", "butterworth"])
@pytest.mark.parametrize(("count", "fps"), [(2, 10.0), (7, 60.0), (17, 40.0)])
def test_short_clips(filter, count, fps):
    moved = 0.1 * np.linspace(0, 1, count)
    after = displacement_of(magnified(moving_stripes(moved, fps), filter=filter))
    assert 2.5 * moved[-1] < after[-1] - after[0] < 5.5 * moved[-1]


def test_memory_is_a_small_multiple_of_the_clip():
    frames = np.random.default_rng(0).uniform(0, 255, (120, 96, 96)).astype(np.float32)
    tracemalloc.start()
    magnified(clip_of(frames))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * frames.nbytes


@pytest.mark.parametrize(
    ("change", "frames", "message"),
    [
        ({"band": (8.0, 0.5)}, 50, "magnify.band"),
        ({"band": (60.0, 80.0)}, 50, "magnify.band"),
        ({"band": (3.1, 3.9)}, 50, "test/s/c: 50 frames at 100 per second"),
        ({}, 4, "stages"),
        ({"filter": "box"}, 50, "magnify.filter"),
    ],
)
def test_mistakes_are_named(change, frames, message):
    with pytest.raises(UserError, match=message):
        magnified(moving_stripes(np.zeros(frames)), **change)
