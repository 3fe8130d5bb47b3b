"""Subjects of the synthetic clips: one photographed face, changed into many.

The face is the public-domain photograph of Eileen Collins (NASA) that scikit-image contains as
`astronaut`. A subject is that photograph under a thin-plate warp of its landmarks (head and jaw,
eyes, brows, nose, mouth, pose), mirrored or not, with skin, hair, lips, texture, light and
background of its own. All sizes are in pixels of the photograph until the last step.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import skimage.data
from scipy.interpolate import RBFInterpolator

from data_prep.common.cv import cv2

OVERSAMPLE = 2  # Canvas pixels per frame pixel. Later interpolation is then almost exact.
PADDING = 1.25  # Side of the canvas over that of a frame; leaves room for the drift of the head.
WINDOW = 188.0  # px of the photograph that one frame shows
CENTRE = np.array([225.0, 100.0])  # Centre of this window in the photograph.
PHOTO_SHAPE = 270, 360  # Rows and columns of the photograph that a canvas can show.

# The 68 landmarks of the photograph, as found by dlib's model.
LANDMARKS = np.array(
    [
        *[(180, 104), (180, 116), (181, 127), (182, 139), (185, 150), (191, 161), (200, 169)],
        *[(210, 176), (221, 178), (233, 177), (244, 171), (254, 163), (261, 154), (265, 143)],
        *[(268, 131), (270, 120), (272, 108)],  # jaw
        *[(187, 93), (192, 88), (200, 87), (208, 89), (216, 92)],  # brow
        *[(236, 93), (244, 90), (252, 90), (260, 92), (265, 98)],  # brow
        *[(226, 102), (225, 111), (225, 119), (225, 127)],  # bridge of the nose
        *[(214, 131), (219, 133), (224, 134), (229, 133), (234, 132)],  # nostrils
        *[(195, 101), (200, 98), (207, 98), (212, 104), (206, 104), (200, 104)],  # eye
        *[(238, 105), (243, 101), (250, 101), (255, 104), (250, 106), (244, 106)],  # eye
        *[(201, 139), (209, 139), (218, 139), (224, 141), (230, 140), (237, 140), (245, 141)],
        *[(237, 151), (229, 155), (222, 156), (216, 155), (208, 150)],  # outer lips
        *[(204, 141), (218, 143), (223, 144), (229, 143), (242, 142), (229, 150), (223, 151)],
        (217, 150),  # inner lips
    ],
    float,
)
# Index of the landmark that takes the place of each landmark in a mirror image.
MIRROR = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)
# Outline of the person, clockwise from the crown: hair, then ear, jaw and suit on each side.
HEAD = [
    *[(227, 16), (237, 16), (241, 19), (248, 18), (260, 24), (276, 31), (286, 40), (296, 58)],
    *[(296, 65), (300, 78), (301, 90), (299, 98), (295, 110), (275, 134), (266, 137), (266, 144)],
    *[(262, 154), (257, 166)],
]
SUIT = [
    *[(256, 173), (275, 188), (295, 210), (303, 233), (340, 262), (340, 275), (110, 275)],
    *[(129, 226), (125, 208), (125, 191), (127, 175), (131, 167), (140, 158), (153, 151)],
]
HEAD_LEFT = [
    *[(184, 147), (182, 141), (182, 132), (174, 128), (170, 121), (170, 116), (167, 115)],
    *[(157, 104), (154, 93), (154, 64), (156, 58), (163, 51), (174, 43), (185, 38), (191, 33)],
    *[(193, 29), (205, 21), (212, 22), (219, 18)],
]
SKIN = [
    *[(180, 112), (184, 96), (187, 82), (191, 77), (198, 79), (210, 81), (222, 81), (230, 79)],
    *[(240, 80), (250, 83), (257, 87), (262, 89), (268, 91), (270, 100), (271, 126), (278, 129)],
    *[(271, 136), (266, 144), (262, 154), (258, 165), (256, 174), (254, 184), (247, 188)],
    *[(235, 191), (222, 189), (210, 187), (200, 186), (190, 180), (186, 172), (186, 160)],
    *[(183, 147), (182, 132), (175, 130), (171, 122), (172, 117), (178, 121)],
]
NO_MAP = np.empty(0, np.float32)  # Second map of cv2.remap; it is empty if the first holds x and y.
THICK = np.array([0.0, 4.0])  # px, thickness of a brow
EYE_DISTANCE = float(np.linalg.norm(LANDMARKS[36:42].mean(0) - LANDMARKS[42:48].mean(0)))


@dataclasses.dataclass(frozen=True)
class Subject:
    """A person, at rest.

    Attributes:
      canvas: Image `[c, c, 3]`, float32 RGB in 0..255. It is `OVERSAMPLE` times as fine as a frame
        and `PADDING` times as wide.
      landmarks: Landmarks `[68, 2]`, (x, y) in pixels of the canvas.
    """

    canvas: np.ndarray
    landmarks: np.ndarray


@functools.lru_cache(maxsize=16)
def subject(seed: int, number: int, size: int) -> Subject:
    """Create a subject; this takes about 0.1 s, and a cache keeps the latest subjects.

    Args:
      seed: Seed of all subjects.
      number: Number of the subject.
      size: Side of the frames, px.
    """
    rng = np.random.default_rng([seed, number, 0])
    side = round(size * OVERSAMPLE * PADDING)
    scale = size * OVERSAMPLE / WINDOW
    points = _draw_landmarks(rng)
    layers = _warp(points, side, scale)
    canvas = _appearance(rng, layers, scale)
    landmarks = (points - CENTRE) * scale + (side - 1) / 2
    if rng.random() < 0.5:
        canvas = canvas[:, ::-1]
        landmarks = landmarks[MIRROR] * [-1, 1] + [side - 1, 0]
    # The blur of the lens.
    canvas = cv2.GaussianBlur(np.ascontiguousarray(canvas), (0, 0), 0.45 * OVERSAMPLE)
    return Subject(canvas, landmarks)


def _draw_landmarks(rng: np.random.Generator) -> np.ndarray:
    """Draw the landmarks of a new face `[68, 2]`, in pixels of the photograph."""

    def factor(spread: float, other: float | None = None) -> np.ndarray:
        reach = np.array([spread, spread if other is None else other])
        return 1 + rng.uniform(-reach, reach)

    def shift(spread: float) -> float:
        return EYE_DISTANCE * rng.uniform(-spread, spread)

    points = LANDMARKS.copy()
    _scale(points, slice(0, 17), LANDMARKS[27], factor(0.12, 0.10))
    _scale(points, slice(4, 13), LANDMARKS[27], factor(0.09, 0.03))
    eyes, apart = factor(0.14, 0.2), shift(0.06)
    raised, tilted = shift(0.06), shift(0.04)
    for eye, brow, side in (
        (slice(36, 42), slice(17, 22), -1),
        (slice(42, 48), slice(22, 27), 1),
    ):
        _scale(points, eye, LANDMARKS[eye].mean(0), eyes * factor(0.03))
        points[eye, 0] += side * apart
        points[brow, 0] += side * apart
        points[brow, 1] += raised + tilted * side * np.linspace(-1, 1, 5) + shift(0.015)
    _scale(points, slice(27, 36), LANDMARKS[27], factor(0.03, 0.14))
    _scale(points, slice(31, 36), LANDMARKS[33], factor(0.22, 0.1))
    _scale(points, slice(48, 68), LANDMARKS[48:68].mean(0), factor(0.13, 0.2))
    points[48:68, 1] += shift(0.05)
    turned = EYE_DISTANCE * rng.uniform((-0.08, -0.05), (0.08, 0.05))
    return points + turned * depth(points, LANDMARKS[30], EYE_DISTANCE)[:, None]


def _scale(points: np.ndarray, part: slice, centre: np.ndarray, factor: np.ndarray) -> None:
    points[part] = centre + (points[part] - centre) * factor


def depth(points: np.ndarray, nose: np.ndarray, eye_distance: float) -> np.ndarray:
    """Return how far the face stands out at points: 1 at the nose, 0 far from it.

    Args:
      points: Points `[..., 2]`, px.
      nose: Tip of the nose (x, y), px.
      eye_distance: Distance between the eyes, px.
    """
    distance = ((points - nose) ** 2).sum(-1) / (0.9 * eye_distance) ** 2
    return np.exp(-distance / 2)


def _warp(points: np.ndarray, side: int, scale: float) -> np.ndarray:
    """Warp the layers of the photograph `[c, c, 9]`; its landmarks move to `points`."""
    outline = np.array(HEAD[::2] + HEAD_LEFT[::2], float)
    outline = outline[outline[:, 1] < 110]  # Below this row the landmarks of the jaw apply.
    centre, stretch = LANDMARKS[27], np.ptp(points[:17], axis=0) / np.ptp(LANDMARKS[:17], axis=0)
    rows, columns = PHOTO_SHAPE
    border = [(x, y) for x in (-40, columns / 2, columns + 40) for y in (-60, rows + 60)]
    target = np.concatenate([points, centre + (outline - centre) * stretch, border])
    source = np.concatenate([LANDMARKS, outline, border])
    coarse = np.linspace(-(side - 1) / 2, (side - 1) / 2, 1 + side // 16) / scale
    grid = np.stack(np.meshgrid(coarse + CENTRE[0], coarse + CENTRE[1]), -1)
    fit = RBFInterpolator(target, source - target, kernel="thin_plate_spline")
    source_points = grid + fit(grid.reshape(-1, 2)).reshape(grid.shape)
    position = np.linspace(0, len(coarse) - 1, side, dtype=np.float32)
    points_in_photograph = sample(
        source_points.astype(np.float32), np.stack(np.meshgrid(position, position), -1)
    )
    layers = _layers()
    return np.concatenate(
        [
            sample(np.ascontiguousarray(layers[..., k : k + 3]), points_in_photograph)
            for k in range(0, 9, 3)
        ],
        -1,
    )


def sample(image: np.ndarray, points: np.ndarray, kernel: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Sample an image at points, mirrored at its border.

    Args:
      image: Image.
      points: Points (x, y), float32 `[h, w, 2]` px.
      kernel: Interpolation, bicubic by default. For smooth fields, linear interpolation
        (`cv2.INTER_LINEAR`) is more accurate and faster.
    """
    return cv2.remap(image, points, NO_MAP, kernel, borderMode=cv2.BORDER_REFLECT_101)


@functools.cache
def _layers() -> np.ndarray:
    """Return the photograph and masks of its parts, `[h, w, 9]`.

    The channels are RGB, then the masks in the order of their names in `_appearance`.
    """
    rows, columns = PHOTO_SHAPE
    photograph = skimage.data.astronaut()[:rows, :columns].astype(np.float32)
    person = _mask([HEAD + SUIT + HEAD_LEFT], 0.8)
    lips = _mask([LANDMARKS[48:60]], 0.8, [LANDMARKS[60:68]])
    holes = [LANDMARKS[36:42], LANDMARKS[42:48], LANDMARKS[60:68]]
    skin = _mask([SKIN], 1.2, holes) * (1 - 0.7 * lips)
    hair = _mask([HEAD + HEAD_LEFT], 1.2, [SKIN])
    lines = np.split(LANDMARKS[17:27], 2)
    brows = _mask([np.concatenate([line, line[::-1] + THICK]) for line in lines], 1)
    suit = person * (1 - _mask([HEAD + HEAD_LEFT, SKIN], 1.2))
    masks = [person, skin, hair, lips, brows, suit]
    return np.concatenate([_without_background(photograph, person), np.stack(masks, -1)], -1)


def _mask(polygons: list, softness: float, holes: list | tuple = ()) -> np.ndarray:
    """Fill polygons with 1 and holes with 0, and blur the edges, float32 `[h, w]`."""
    mask = np.zeros(PHOTO_SHAPE, np.float32)
    for shapes, value in ((polygons, 1.0), (holes, 0.0)):
        for shape in shapes:
            cv2.fillPoly(mask, [np.round(shape).astype(np.int32)], value)
    return cv2.GaussianBlur(mask, (0, 0), softness)


def _without_background(photograph: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Extend the person's colours over the edge, so that no light rim remains."""
    inside = cv2.erode((person > 0.9).astype(np.float32), np.ones((3, 3)))[..., None]
    blurred = cv2.GaussianBlur(photograph * inside, (0, 0), 2)
    weight = cv2.GaussianBlur(inside, (0, 0), 2)[..., None]
    near = np.where(weight > 1e-3, blurred / np.maximum(weight, 1e-3), photograph)
    return photograph * inside + near * (1 - inside)


def _appearance(rng: np.random.Generator, layers: np.ndarray, scale: float) -> np.ndarray:
    """Apply colours, texture, light and background to the warped layers.

    Returns:
      RGB `[c, c, 3]` in 0..255.
    """
    person, skin, hair, lips, brows, suit = np.clip(np.moveaxis(layers[..., 3:, None], 2, 0), 0, 1)
    lab = cv2.cvtColor(np.clip(layers[..., :3] / 255, 0, 1), cv2.COLOR_RGB2LAB)
    lab = _adjust_tone(lab, skin + 0.6 * lips, *_skin_tone(rng))
    dark = np.exp(rng.uniform(-1.2, 0.1))
    lab = _adjust_tone(lab, hair, dark, rng.uniform(0.1, 1.2), rng.uniform(0, 6))
    lab = _adjust_tone(lab, lips, rng.uniform(0.7, 1.1), rng.uniform(0.8, 1.8), 0)
    lab = _adjust_tone(lab, brows, rng.uniform(0.45, 1.05), 0.8, 0)
    lab = _adjust_tone(lab, suit, rng.uniform(0.5, 1.3), rng.uniform(0, 1), 0)
    lab[..., :1] += skin * (_texture(rng, lab.shape[0], scale) - _spots(rng, skin, scale))
    behind = _background(rng, lab.shape[0])
    lit = _apply_lighting(rng, lab * person + behind * (1 - person))
    return 255 * np.clip(cv2.cvtColor(lit, cv2.COLOR_LAB2RGB), 0, 1)


def _skin_tone(rng: np.random.Generator) -> tuple[float, float, float]:
    darkness = rng.uniform(0, 1) ** 1.5
    return 1.0 - 0.52 * darkness, rng.uniform(0.85, 1.15), rng.uniform(-2, 3) + 3 * darkness


def _adjust_tone(
    lab: np.ndarray, mask: np.ndarray, lightness: float, chroma: float, warmth: float
) -> np.ndarray:
    """Multiply lightness and chroma and add warmth (Lab b) where the mask is set."""
    toned = lab * np.array([lightness, chroma, chroma], np.float32)
    toned[..., 2] += warmth
    return lab + np.clip(mask, 0, 1) * (toned - lab)


def _noise(rng: np.random.Generator, side: int, cell: float) -> np.ndarray:
    """Draw smooth noise of about unit variance, `[side, side]`.

    Args:
      rng: Random generator.
      side: Side, px.
      cell: Correlation length, px.
    """
    count = max(2, round(side / cell)) + 3
    coarse = rng.standard_normal((count, count), dtype=np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def _texture(rng: np.random.Generator, side: int, scale: float) -> np.ndarray:
    """Draw pores, blotches and folds of the skin, in Lab lightness `[side, side, 1]`."""
    strength = rng.uniform(0.4, 1.3)
    cells = ((1.2, 1.1), (3.0, 1.4), (9.0, 1.6))  # px of the photograph, lightness.
    layers = [_noise(rng, side, cell * scale) * size for cell, size in cells]
    return strength * np.sum(layers, 0)[..., None]


def _spots(rng: np.random.Generator, skin: np.ndarray, scale: float) -> np.ndarray:
    """Draw moles and freckles, as the loss of Lab lightness `[side, side, 1]`."""
    spots = np.zeros(skin.shape[:2], np.float32)
    candidates = np.argwhere(skin[..., 0] > 0.95)
    for y, x in rng.choice(candidates, rng.integers(0, 14)):
        radius = scale * rng.uniform(0.4, 0.9)
        cv2.circle(spots, (int(x), int(y)), max(1, round(radius)), rng.uniform(5, 22), -1)
    return cv2.GaussianBlur(spots, (0, 0), 0.5 * scale)[..., None]


def _background(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw a plain wall with stains, in Lab."""
    wall = np.array([rng.uniform(35, 90), *rng.normal(0, 7, 2)], np.float32)
    stains = rng.uniform(0.5, 3) * np.sum([_noise(rng, side, side / n) for n in (2, 4, 9)], 0)
    return (wall + stains[..., None] * np.array([1, 0.2, 0.2], np.float32)).astype(np.float32)


def _apply_lighting(rng: np.random.Generator, lab: np.ndarray) -> np.ndarray:
    """Apply the light of a lamp on one side, and the tone curve of a camera."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 14)
    across = np.linspace(-1, 1, lab.shape[0], dtype=np.float32)
    lamp = strength * (np.cos(angle) * across[None, :] + np.sin(angle) * across[:, None])
    lightness = np.clip(lab[..., 0] + lamp, 1, 100) / 100
    curved = 100 * lightness ** np.float32(np.exp(rng.uniform(-0.2, 0.25)))
    return np.concatenate([curved[..., None], lab[..., 1:]], -1).astype(np.float32)
