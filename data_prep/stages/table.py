"""The stages of the recipe: the function of each, and its code version."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from data_prep.clip import Clip
from data_prep.stages import apex, face, keyframes, magnify


class Stage(NamedTuple):
    """One stage of the recipe.

    Attributes:
      apply: Function of a clip and the fields of the stage's section that returns the new clip.
      version: Increased whenever the code gives other values; later stages are then computed anew
        too.
      cached: Whether the result is cached besides the finished record.
    """

    apply: Callable[..., Clip]
    version: int
    cached: bool = True


STAGES: dict[str, Stage] = {
    "face": Stage(face.crop, version=2),
    # Not cached: the result is the face stage's with one more number, and is fast to compute.
    "apex": Stage(apex.estimate, version=1, cached=False),
    "magnify": Stage(magnify.magnify, version=3),
    "keyframes": Stage(keyframes.select, version=2),
}
