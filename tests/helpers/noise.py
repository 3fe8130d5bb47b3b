"""A source of clips of noise, their recipe, and a flow that is quick."""

import dataclasses
import os
from typing import Any

import numpy as np

from data_prep import config as configs
from data_prep.clip import Clip
from data_prep.common.errors import UserError


def recipe() -> dict[str, Any]:
    """The paper's, as small as can be."""
    made = configs.recipe()
    made.size, made.steps = 18, 3
    made.face.points = "box"
    made.magnify.update(alpha=2.0, band=(1.0, 20.0), wavelength=8.0, levels=2)
    made.keyframes.update(rule="uniform", radius=1)
    made.flow.update(scales=1, warps=1, iterations=2)
    return made.to_dict()


RECIPE = recipe()


@dataclasses.dataclass(frozen=True)
class NumberedEntry:
    number: int
    key: str = "1"

    @property
    def name(self) -> str:
        return f"noise/s{self.number % 2}/{self.number}"


class NoiseSource:
    """Clips of noise; those in `bad` cannot be loaded, those in `broken` have a fault.

    Those in `odd` have a note, and of those in `locked` the files may not be read.
    """

    name = "noise"
    class_names: tuple[str, ...] = ("calm", "wild")

    def __init__(self, count: int, bad=(), broken=(), deadly=(), odd=(), locked=()):
        self.count, self.bad, self.broken, self.locked = count, bad, broken, locked
        self.deadly, self.odd = deadly, odd

    def entries(self):
        return [NumberedEntry(number) for number in range(self.count)]

    def load(self, entry):
        if entry.number in self.bad:
            raise UserError(f"{entry.name}: frame 7 is absent.")
        if entry.number in self.broken:
            raise ZeroDivisionError("a fault")
        if entry.number in self.locked:
            raise PermissionError(13, "Permission denied", f"/clips/{entry.number}")
        if entry.number in self.deadly:
            os._exit(1)
        rng = np.random.default_rng(entry.number)
        return Clip(
            # One picture with a little noise: more would be a movement that is noted.
            frames=rng.integers(0, 240, (30, 26), np.uint8)
            + rng.integers(0, 16, (12, 30, 26), np.uint8),
            fps=100.0,
            onset=1,
            apex=5 if entry.number else None,
            offset=9,
            subject=f"s{entry.number % 2}",
            clip_id=f"clip {entry.number} é",
            label=self.class_names[entry.number % 2],
            emotion="Sérénité",
            dataset=self.name,
            notes=("Two faces.", "Dark.") if entry.number in self.odd else (),
        )


def with_flow(partial, frames, recipe):
    """A flow that needs no compilation: the differences to the first key frame."""
    flow = np.stack([frames[1:] - frames[:1]] * 2, axis=-1)
    return {"flow": flow.astype(np.float16), **partial}
