"""A movement as its page shows it: cropped to the network's window, with times."""

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
    """One movement with its explanation.

    Attributes:
      answer: Class of the movement.
      record: Its key frames and flow (`data_prep.pipeline.record`).
      reason: Explanation of the answer.
      faces: Whether faces may be shown.
    """

    answer: Answer
    record: Mapping[str, Any]
    reason: Reason
    faces: bool

    @property
    def class_name(self) -> str:
        """Class that the maps explain."""
        return list(self.answer.probabilities)[self.reason.target]

    @property
    def apex(self) -> int | None:
        """Index of the apex among the key frames, or None."""
        index = int(self.record["apex_index"])
        return None if index < 0 else index

    @property
    def background_frame(self) -> int:
        """Index of the key frame below the maps: the apex, or the middle frame."""
        return len(self.record["frames"]) // 2 if self.apex is None else self.apex

    @cached_property
    def flow(self) -> np.ndarray:
        """Flow float32 `[t, h, w, 2]`, px."""
        return self._window(self.record["flow"]).astype(np.float32)

    def face(self, key_frame: int) -> np.ndarray:
        """Return a key frame, uint8 `[h, w]`, or plain grey if faces must not be shown."""
        face = self._window(self.record["frames"][key_frame][None])[0, ..., 0]
        return face if self.faces else np.full_like(face, GREY)

    @property
    def head(self) -> int:
        """Index of the answering head; if the mean answers, of the most confident head."""
        if self.answer.head is not None:
            return self.answer.head - 1
        return int(self.reason.probabilities[:, self.reason.target].argmax())

    def time_label(self, key_frame: int) -> str:
        """Return the name of a key frame and its time since the onset."""
        positions = np.asarray(self.record["positions"], float)
        after = 1000 * (positions[key_frame] - positions[0]) / self.record["fps"]
        names = {len(positions) - 1: "offset", self.apex: "apex", 0: "onset"}
        return f"{names.get(key_frame, key_frame)}, {after:.0f} ms"

    def _window(self, pixels: np.ndarray) -> np.ndarray:
        """Crop `[n, S, S, d]` to what the network sees, without the margin for shifts."""
        size = self.reason.cams.shape[-1]
        margin = (pixels.shape[1] - size) // 2
        return np.asarray(pixels[:, margin : margin + size, margin : margin + size])
