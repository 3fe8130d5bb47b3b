"""Answers about videos that nobody has filmed."""

import numpy as np

from data_prep.spotting.found import Course, Stretch
from mser_jax.predict.answers import Answer, VideoAnswer

CLASSES = ("happiness", "surprise", "others")


def movement(onset, apex, offset, label="surprise", fps=30.0, first=0, classes=CLASSES, **changes):
    """One of 62 % certainty; the others share what is left."""
    rest = 0.38 / (len(classes) - 1)
    probabilities = {name: 0.62 if name == label else rest for name in classes}
    heads = tuple({name: 1 / len(classes) for name in classes} for _ in range(2))
    fields = {
        **{"onset": onset, "apex": apex, "offset": offset, "label": label, "confidence": 0.62},
        "times": tuple((mark - first) / fps for mark in (onset, apex, offset)),
        **{"probabilities": probabilities, "heads": heads, "head": None, "movement": 0.5},
        "apex_estimated": True,
    }
    return Answer(**fields | changes)


def course(frames, first=0, peaks=(), skip=()):
    """Faint noise, 0.5 px at the peaks; without the frames of `skip`."""
    frame = np.array([number for number in range(first, first + frames) if number not in skip])
    values = np.abs(np.random.default_rng(0).normal(0.03, 0.01, len(frame)))
    values[np.isin(frame, peaks)] = 0.5
    return Course(frame, values.astype(np.float32), np.full(len(frame), 0.1, np.float32))


def window(left, top, side):
    """Upright, `[4, 2]`."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return np.array([left, top]) + side * corners.astype(float)


def video(frames=90, answers=(), first=0, classes=CLASSES, **changes):
    """Of one face from the first frame to the last, at 30 frames a second."""
    peaks = [answer.apex for answer in answers]
    face = Stretch(first, first + frames - 1, "face", window(40, 30, 80), 1)
    fields = {
        **{"source": "somebody.mp4", "fps": 30.0, "frames": frames, "first": first},
        **{"answers": tuple(answers), "stretches": (face,), "class_names": classes},
        "calibrated": False,
    }
    if "course" not in changes:
        fields["course"] = course(frames, first, peaks)
    return VideoAnswer(**fields | changes)
