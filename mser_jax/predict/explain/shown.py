"""A movement as its page shows it: in the network's window, each key frame with its time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mser_jax.predict.answers import Answer
from mser_jax.predict.explain.gradcam import Reason

GREY = 168  # in place of a face


@dataclasses.dataclass(frozen=True, eq=False)
class ReasonView:
    """One movement.

    Attributes:
      answer: its class.
      record: its key frames and flow (`data_prep.pipeline.record`).
      reason: what the network looked at.
      faces: whether pixels of the face may be shown.
    """

    answer: Answer
    record: Mapping[str, Any]
    reason: Reason
    faces: bool

    @property
    def class_name(self) -> str:
        """The class that the maps speak for."""
        return list(self.answer.probabilities)[self.reason.target]

    @property
    def apex(self) -> int | None:
        """The apex among the key frames."""
        index = int(self.record["apex_index"])
        return None if index < 0 else index

    @property
    def background_frame(self) -> int:
        """The key frame that maps are drawn over: the apex, or the middle."""
        return len(self.record["frames"]) // 2 if self.apex is None else self.apex

    @cached_property
    def flow(self) -> np.ndarray:
        """Float32 `[t, h, w, 2]`, px."""
        return self._window(self.record["flow"]).astype(np.float32)

    def face(self, key_frame: int) -> np.ndarray:
        """Uint8 `[h, w]`; plain grey where no face may be shown."""
        face = self._window(self.record["frames"][key_frame][None])[0, ..., 0]
        return face if self.faces else np.full_like(face, GREY)

    @property
    def head(self) -> int:
        """The head that answers, from 0; of a mean the one that is surest of the class."""
        if self.answer.head is not None:
            return self.answer.head - 1
        return int(self.reason.probabilities[:, self.reason.target].argmax())

    def time_label(self, key_frame: int) -> str:
        """Which one it is, and how long after the onset."""
        positions = np.asarray(self.record["positions"], float)
        after = 1000 * (positions[key_frame] - positions[0]) / self.record["fps"]
        names = {len(positions) - 1: "offset", self.apex: "apex", 0: "onset"}
        return f"{names.get(key_frame, key_frame)}, {after:.0f} ms"

    def _window(self, pixels: np.ndarray) -> np.ndarray:
        """What of `[n, S, S, d]` the network sees, without the margin for shifts."""
        size = self.reason.cams.shape[-1]
        margin = (pixels.shape[1] - size) // 2
        return np.asarray(pixels[:, margin : margin + size, margin : margin + size])
