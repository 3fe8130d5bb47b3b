"""Eulerian video magnification (section 3.2, step 4; Wu et al., SIGGRAPH 2012).

The method's four steps are a spatial pyramid, a temporal band-pass, the amplification of each level
and the reconstruction. The first two are linear, one in space and one in time, so their order does
not matter. Here the whole clip is band-passed first, once; then each frame goes through its own
pyramid.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.fft
import scipy.signal

from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError

FINEST_WAVELENGTH = 4.0  # px, middle of the finest level's octaves (2 to 8). It doubles per level.
SMALLEST_SIDE = 4  # px; a pyramid stops before its levels get smaller.
BUTTERWORTH_ORDER = 2
FLAT = 1e-3  # Squared grey levels per px; minimum slope to estimate a movement from.


def magnify(
    clip: Clip,
    *,
    alpha: float = 2.0,
    band: tuple[float, float] = (0.5, 8.0),
    filter: str = "ideal",
    wavelength: float = 32.0,
    levels: int = 4,
) -> Clip:
    """Enlarge the movements of a clip (eq. 3.2 to 3.7).

    The defaults are those of the recipe (`data_prep.config.recipe`).

    A movement by d since the onset, at a temporal frequency inside `band`, becomes a movement by
    (1 + alpha) d. The onset frame stays as it is, because eq. (3.2) measures movement from there.
    The band-passed signal alone is not zero at the onset; it would push a lasting movement back
    into it.

    The method is a first-order expansion, eq. (3.4): it holds while (1 + alpha) d is below an
    eighth of the wavelength of what moves (Wu et al.). Beyond that, edges are doubled rather than
    moved; docs/data.md measures the effect on the optical flow.

    The coarsest remainder of the pyramid is not amplified: it holds the illumination, not the
    movement.

    Args:
      clip: Clip with frames `[t, h, w]`, 0..255, evenly spaced at `clip.fps`.
      alpha: Amplification (eq. 3.3).
      band: Lowest and highest amplified frequency, Hz.
      filter: 'ideal' (nothing outside the band) or 'butterworth' (smooth edges, zero phase).
      wavelength: Wavelength, px. Pyramid levels of this wavelength and longer (4 px at the finest
        level, doubling at each next) get all of `alpha`. Finer levels get less, so that a movement
        of up to d = wavelength / (8 (1 + alpha)) px keeps (1 + alpha) d < wavelength / 8 at every
        level.
      levels: Number of levels of the Laplacian pyramid; fewer if the frames are too small.

    Returns:
      The clip with frames float32, clipped to 0..255, and a note if it moves by more than that d.

    Raises:
      UserError: These frames cannot hold the band, or the filter is unknown.
    """
    frames = np.asarray(clip.frames, np.float32)
    movement = _filter(frames, _gain(len(frames), clip, band, filter))
    movement -= movement[clip.onset].copy()  # B(x, t), eq. (3.5)
    depth = max(1, min(levels, int(np.log2(min(frames.shape[1:]) / SMALLEST_SIDE))))
    alphas = [_level_alpha(alpha, wavelength, level) for level in range(depth)]
    energies = np.empty(len(frames))
    for index, (frame, frame_movement) in enumerate(zip(frames, movement)):
        added = _amplify(frame_movement, alphas)
        energies[index] = np.mean(added**2)
        np.add(frame, added, out=frame_movement)  # eq. (3.6)
    farthest = _displacement(
        energies[clip.onset : clip.offset + 1].max(), _amplify(frames[clip.onset], alphas)
    )
    return dataclasses.replace(
        clip,
        frames=np.clip(movement, 0, 255, out=movement),
        notes=(*clip.notes, *_movement_notes(farthest, _max_movement(alpha, wavelength))),
    )


def _max_movement(alpha: float, wavelength: float) -> float:
    """Return the largest movement d, px, for which magnification holds.

    The condition is (1 + alpha) d < wavelength / 8.
    """
    return wavelength / (8 * (1 + alpha))


def _level_alpha(alpha: float, wavelength: float, level: int) -> float:
    """Return the amplification of a pyramid level.

    The condition is (1 + alpha_level) d < wavelength_level / 8 (Wu et al.).
    """
    bound = FINEST_WAVELENGTH * 2**level / (8 * _max_movement(alpha, wavelength)) - 1
    return float(np.clip(bound, 0, alpha))


def _displacement(energy: float, levels: np.ndarray) -> float:
    """Estimate how far, in px, a frame has moved from what was added to it.

    By eq. (3.4) a movement d adds d times the slope of the amplified levels of the onset frame.
    Over the whole frame, half of the squared slope is along the movement.

    Args:
      energy: Mean square of what was added to the frame.
      levels: Amplified levels of the onset frame, `[h, w]`.
    """
    down, right = np.gradient(levels)
    slope = np.mean(down**2 + right**2) / 2
    return float(np.sqrt(energy / max(slope, FLAT)))


def _movement_notes(farthest: float, max_movement: float) -> list[str]:
    if farthest <= max_movement:
        return []
    return [
        f"the face moves by about {farthest:.1f} px of the crop, the head's movement included; "
        f"magnification holds up to {max_movement:.1f} px and doubles edges beyond. Compare the "
        "result with the original; a lower prep.magnify.alpha (of a model: in its training) allows "
        "larger movements."
    ]


def _amplify(image: np.ndarray, alphas: list[float]) -> np.ndarray:
    """Return the sum of an image's Laplacian pyramid levels times their factors.

    A level is the image minus the enlarged half-size image. The remainder after the last factor is
    dropped.
    """
    if not alphas:
        return np.zeros_like(image)
    smaller = cv2.pyrDown(image)
    # alpha (image - enlarge(smaller)) + enlarge(coarser levels), enlarged together.
    coarser = _amplify(smaller, alphas[1:]) - alphas[0] * smaller
    return alphas[0] * image + cv2.pyrUp(coarser, dstsize=image.shape[::-1])


def _gain(length: int, clip: Clip, band: tuple[float, float], filter: str) -> np.ndarray:
    """Return the band-pass as a factor per frequency of `_filter`, float32 `[length]`."""
    low, high = band
    if not 0 < low < high:
        raise UserError(
            f"magnify.band is {tuple(band)}. Fix: give two frequencies in Hz, 0 < low < high."
        )
    frequencies = np.arange(length) * clip.fps / (2 * length)
    inside = (frequencies >= low) & (frequencies <= high)
    if not inside.any():
        raise UserError(
            f"{clip.name}: {length} frames at {clip.fps:g} per second hold no movement of "
            f"{low:g} to {high:g} Hz. Fix: widen magnify.band, or remove 'magnify' from the stages."
        )
    if filter == "ideal":
        gain = inside
    elif filter == "butterworth":
        gain = _butterworth(frequencies, low, high, clip.fps)
    else:
        raise UserError(
            f"magnify.filter: unknown value {filter!r}. Fix: use 'ideal' or 'butterworth'."
        )
    return gain.astype(np.float32)


def _butterworth(frequencies: np.ndarray, low: float, high: float, fps: float) -> np.ndarray:
    """Return the response of a Butterworth band-pass run forwards and backwards.

    A one-way filter would delay the movement, and the apex with it.
    """
    if high < 0.95 * fps / 2:
        edges, kind = [low, high], "bandpass"
    else:  # A slow camera: pass everything above `low`.
        edges, kind = low, "highpass"
    sections = scipy.signal.butter(BUTTERWORTH_ORDER, edges, kind, fs=fps, output="sos")
    _, response = scipy.signal.sosfreqz(sections, worN=frequencies, fs=fps)
    return np.abs(response) ** 2


def _filter(signal: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Filter along the first axis; the clip continues as its mirror image.

    The cosine transform is the Fourier transform of a clip followed by its own reflection, repeated
    without end. It is the same as endless padding by reflection: no seam and no start-up ringing.
    """
    spectrum = scipy.fft.dct(signal, axis=0, norm="ortho")
    spectrum *= gain.reshape(-1, *[1] * (signal.ndim - 1))
    return np.asarray(scipy.fft.idct(spectrum, axis=0, norm="ortho", overwrite_x=True))
