"""Eulerian video magnification (section 3.2, step 4; Wu et al., SIGGRAPH 2012).

The method's four steps are a spatial pyramid, a temporal band-pass, the amplification of each level
and the reconstruction. The first two are linear, one in space and one in time, so their order does
not matter: here the whole clip is band-passed first, once, and then each frame goes through its
pyramid alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.fft
import scipy.signal

from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError

FINEST_WAVELENGTH = 4.0  # px, middle of the finest level's octaves (2 to 8); doubles at each level
SMALLEST_SIDE = 4  # px: a pyramid stops before its levels are smaller
BUTTERWORTH_ORDER = 2
FLAT = 1e-3  # squared grey levels per px: an image of less slope says nothing of the movement


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

    What moves by d since the onset, at a temporal frequency inside `band`, moves by (1 + alpha) d.
    The onset frame stays as it is: eq. (3.2) counts the movement from there. The band-passed signal
    alone has no such zero; it would push a lasting movement back into the onset.

    The method is an expansion of first order, eq. (3.4): it holds while (1 + alpha) d is below an
    eighth of the wavelength of what moves (Wu et al.). Beyond that, edges are doubled rather than
    moved; docs/data.md measures what this does to the optical flow.

    The coarsest remainder of the pyramid is left alone: it holds the light, not the movement.

    Args:
      clip: frames `[t, h, w]`, 0..255, evenly spaced at `clip.fps`.
      alpha: amplification (eq. 3.3).
      band: lowest and highest amplified frequency, Hz.
      filter: 'ideal' (nothing outside the band) or 'butterworth' (smooth edges, zero phase).
      wavelength: px. Levels of the pyramid of this wavelength and of longer ones (4 px at the
        finest, twice that at each next) get all of `alpha`; the finer ones less, so that a movement
        of up to d = wavelength / (8 (1 + alpha)) px keeps (1 + alpha) d < wavelength / 8 at every
        level.
      levels: of the Laplacian pyramid; fewer where the frames are too small for them.

    Returns:
      The clip with frames float32, clipped to 0..255, and a note when it moves beyond that d.

    Raises:
      UserError: a band that these frames cannot hold, or an unknown filter.
    """
    frames = np.asarray(clip.frames, np.float32)
    movement = _filter(frames, _gain(len(frames), clip, band, filter))
    movement -= movement[clip.onset].copy()  # B(x, t), eq. (3.5)
    depth = max(1, min(levels, int(np.log2(min(frames.shape[1:]) / SMALLEST_SIDE))))
    alphas = [_level_alpha(alpha, wavelength, level) for level in range(depth)]
    energies = np.empty(len(frames))
    for index, (frame, moved) in enumerate(zip(frames, movement)):
        added = _amplify(moved, alphas)
        energies[index] = np.mean(added**2)
        np.add(frame, added, out=moved)  # eq. (3.6)
    farthest = _displacement(
        energies[clip.onset : clip.offset + 1].max(), _amplify(frames[clip.onset], alphas)
    )
    return dataclasses.replace(
        clip,
        frames=np.clip(movement, 0, 255, out=movement),
        notes=(*clip.notes, *_movement_notes(farthest, _max_movement(alpha, wavelength))),
    )


def _max_movement(alpha: float, wavelength: float) -> float:
    """px, the movement d up to which magnification holds: (1 + alpha) d < wavelength / 8."""
    return wavelength / (8 * (1 + alpha))


def _level_alpha(alpha: float, wavelength: float, level: int) -> float:
    """The amplification of a level: (1 + alpha_level) d < wavelength_level / 8 (Wu et al.)."""
    bound = FINEST_WAVELENGTH * 2**level / (8 * _max_movement(alpha, wavelength)) - 1
    return float(np.clip(bound, 0, alpha))


def _displacement(energy: float, levels: np.ndarray) -> float:
    """px: about how far a frame has moved to which the mean square `energy` is added.

    By eq. (3.4) a movement d adds d times the slope of the amplified levels of the onset frame,
    `levels`. Taken over the whole frame, half of the squared slope is along the movement.
    """
    down, right = np.gradient(levels)
    slope = np.mean(down**2 + right**2) / 2
    return float(np.sqrt(energy / max(slope, FLAT)))


def _movement_notes(farthest: float, max_movement: float) -> list[str]:
    if farthest <= max_movement:
        return []
    return [
        f"the face moves by about {farthest:.1f} px of the crop, the head's movement included; "
        f"magnification holds up to {max_movement:.1f} px and doubles edges beyond. Compare it with the "
        "original; it holds for more with a lower prep.magnify.alpha (of a model: in its training)."
    ]


def _amplify(image: np.ndarray, alphas: list[float]) -> np.ndarray:
    """The levels of an image's Laplacian pyramid, each times its factor, put together again.

    A level is what an image has and the enlarged half-size image has not; what is left when the
    factors end is dropped.
    """
    if not alphas:
        return np.zeros_like(image)
    smaller = cv2.pyrDown(image)
    # alpha (image - enlarge(smaller)) + enlarge(coarser levels), enlarged together.
    coarser = _amplify(smaller, alphas[1:]) - alphas[0] * smaller
    return alphas[0] * image + cv2.pyrUp(coarser, dstsize=image.shape[::-1])


def _gain(length: int, clip: Clip, band: tuple[float, float], filter: str) -> np.ndarray:
    """The band-pass as a factor for each of the `length` frequencies of `_filter`."""
    low, high = band
    if not 0 < low < high:
        raise UserError(
            f"magnify.band = {tuple(band)}: give two frequencies in Hz, 0 < low < high."
        )
    frequencies = np.arange(length) * clip.fps / (2 * length)
    inside = (frequencies >= low) & (frequencies <= high)
    if not inside.any():
        raise UserError(
            f"{clip.name}: {length} frames at {clip.fps:g} a second hold no movement of "
            f"{low:g} to {high:g} Hz. Widen magnify.band, or take 'magnify' out of the stages."
        )
    if filter == "ideal":
        gain = inside
    elif filter == "butterworth":
        gain = _butterworth(frequencies, low, high, clip.fps)
    else:
        raise UserError(f"magnify.filter = {filter!r}: take 'ideal' or 'butterworth'.")
    return gain.astype(np.float32)


def _butterworth(frequencies: np.ndarray, low: float, high: float, fps: float) -> np.ndarray:
    """The response of a Butterworth band-pass run forwards and backwards.

    Both ways, because a one-way filter delays the movement, and the apex with it.
    """
    if high < 0.95 * fps / 2:
        edges, kind = [low, high], "bandpass"
    else:  # slow cameras: all that is faster than `low`
        edges, kind = low, "highpass"
    sections = scipy.signal.butter(BUTTERWORTH_ORDER, edges, kind, fs=fps, output="sos")
    _, response = scipy.signal.sosfreqz(sections, worN=frequencies, fs=fps)
    return np.abs(response) ** 2


def _filter(signal: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Filter along the first axis, the clip being continued by its mirror image.

    The cosine transform is the Fourier transform of a clip followed by its own reflection, over and
    over: the same as padding by reflection without end, with no seam and no start-up to ring.
    """
    spectrum = scipy.fft.dct(signal, axis=0, norm="ortho")
    spectrum *= gain.reshape(-1, *[1] * (signal.ndim - 1))
    return np.asarray(scipy.fft.idct(spectrum, axis=0, norm="ortho", overwrite_x=True))
