"""The stages of the recipe: the function of each, and the number of its code."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from data_prep.clip import Clip
from data_prep.stages import apex, face, keyframes, magnify


class Stage(NamedTuple):
    """One stage of the recipe.

    Attributes:
      apply: takes a clip and the fields of the stage's section, and returns the clip after it.
      version: raised whenever the code gives other values; what follows is then made anew too.
      cached: whether the result is kept on disk beside the finished record.
    """

    apply: Callable[..., Clip]
    version: int
    cached: bool = True


STAGES: dict[str, Stage] = {
    "face": Stage(face.crop, version=2),
    # The faces again with one number more, and soon made anew.
    "apex": Stage(apex.estimate, version=1, cached=False),
    "magnify": Stage(magnify.magnify, version=3),
    "keyframes": Stage(keyframes.select, version=2),
}
