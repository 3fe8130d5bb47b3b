"""Magnification of a moving sinusoid, whose magnified displacement is known."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.signal

from data_prep import magnify
from data_prep.clip import Clip
from data_prep.errors import UserError

WAVELENGTH = 24.0
SIDE = 96
SETTINGS: dict[str, Any] = dict(
    alpha=4.0, band=(0.5, 8.0), filter="ideal", wavelength=4.0, levels=5
)


def moving_stripes(displacement, fps, onset=0):
    """Vertical stripes that have moved by `displacement[t]` px to the right in frame t."""
    x = np.arange(SIDE) - np.asarray(displacement)[:, None]
    rows = 128 + 40 * np.cos(2 * np.pi * x / WAVELENGTH)
    frames = np.repeat(rows[:, None, :], SIDE, axis=1).astype(np.float32)
    return Clip(frames, fps, onset, None, len(frames) - 1, "s", "c", "positive", "joy", "test")


def displacement_of(frames):
    """The displacement of the stripes in px, from their phase over whole wavelengths."""
    window = slice(SIDE // 2 - 24, SIDE // 2 + 24)
    carrier = np.exp(2j * np.pi * np.arange(SIDE)[window] / WAVELENGTH)
    return np.angle(frames[:, 24:-24, window].mean(axis=1) @ carrier) * WAVELENGTH / (2 * np.pi)


def swing(hertz, fps, seconds=2.0, reach=0.03):
    times = (np.arange(round(seconds * fps)) + 0.5) / fps
    return reach * np.cos(2 * np.pi * hertz * times)


def gain(hertz, **settings):
    """By how much a swing of `hertz` is enlarged."""
    before = swing(hertz, fps=100.0)
    after = displacement_of(
        magnify.magnify(moving_stripes(before, 100.0), **{**SETTINGS, **settings}).frames
    )
    before, after = before - before[0], after - after[0]
    return after @ before / (before @ before)


@pytest.mark.parametrize("hertz", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("alpha", [1.0, 4.0, 9.0])
def test_gain_inside_the_band(hertz, alpha):
    assert gain(hertz, alpha=alpha) == pytest.approx(1 + alpha, rel=0.03)


@pytest.mark.parametrize("hertz", [0.25, 8.5, 30.0])
def test_no_gain_outside_the_band(hertz):
    assert gain(hertz) == pytest.approx(1.0, abs=0.01)


def test_butterworth_passes_the_middle_and_stops_the_rest():
    assert gain(2.0, filter="butterworth") == pytest.approx(5.0, rel=0.03)
    assert gain(30.0, filter="butterworth") == pytest.approx(1.0, abs=0.02)


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
    clip = magnify.magnify(moving_stripes(pulse, fps), **{**SETTINGS, "filter": filter})
    after = displacement_of(clip.frames)
    assert after.max() == pytest.approx(5 * peak, rel=0.12)
    assert abs(after.argmax() - pulse.argmax()) <= 1
    assert np.abs(after[~inside]).max() < 0.08 * after.max()


def test_onset_frame_is_kept():
    clip = moving_stripes(swing(2.0, 100.0), 100.0, onset=7)
    magnified = magnify.magnify(clip, **SETTINGS)
    np.testing.assert_allclose(magnified.frames[7], clip.frames[7], atol=1e-3)
    assert np.abs(magnified.frames[30] - clip.frames[30]).max() > 1


def test_alpha_falls_with_the_wavelength():
    # (1 + alpha) d < wavelength / 8 with alpha 4 at 16 px allows d = 0.4 px everywhere.
    levels = [magnify._level_alpha(4.0, 16.0, level) for level in range(5)]
    np.testing.assert_allclose(levels, [0.25, 1.5, 4.0, 4.0, 4.0])
    assert magnify._level_alpha(4.0, 64.0, 0) == 0.0


def test_flicker_of_the_light_is_not_enlarged():
    flicker = 1 + 0.02 * np.cos(2 * np.pi * 2.0 * np.arange(100) / 100)
    frames = (120 * flicker)[:, None, None] * np.ones((1, 64, 64))
    clip = dataclasses.replace(moving_stripes(np.zeros(100), 100.0), frames=frames)
    np.testing.assert_allclose(magnify.magnify(clip, **SETTINGS).frames, frames, atol=0.01)


def test_colour_and_clipping():
    stripes = moving_stripes(swing(2.0, 100.0, reach=1.0), 100.0)
    frames = np.clip(stripes.frames * 2 - 128, 0, 255).astype(np.uint8)
    clip = dataclasses.replace(stripes, frames=np.stack([frames] * 3, axis=-1))
    magnified = magnify.magnify(clip, **SETTINGS).frames
    assert magnified.shape == clip.frames.shape
    assert magnified.dtype == np.float32
    assert (magnified.min(), magnified.max()) == (0, 255)


@pytest.mark.parametrize(
    ("change", "frames", "message"),
    [
        ({"band": (8.0, 0.5)}, 50, "magnify.band"),
        ({"band": (60.0, 80.0)}, 50, "magnify.band"),
        ({}, 4, "stages"),
        ({"filter": "box"}, 50, "magnify.filter"),
    ],
)
def test_mistakes_are_named(change, frames, message):
    clip = moving_stripes(np.zeros(frames), 100.0)
    with pytest.raises(UserError, match=message):
        magnify.magnify(clip, **{**SETTINGS, **change})
