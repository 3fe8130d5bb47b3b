"""One clip made into one record: the stages in their order, then the flow.

`key_frames` runs in worker processes and never imports jax; `with_flow` runs in the parent.

A record is a dict:
  flow: float16 `[steps, S, S, 2]`, (u right, v down) in pixels; S is the size and twice the margin.
  frames: uint8 `[steps + 1, S, S, 1]`, the key frames.
  label: index of the class.
  emotion, subject, clip_id, dataset: text.
  onset, apex, offset: frames of the clip as loaded; apex -1 when unknown.
  apex_index: the apex among the key frames, -1 when unknown.
  fps: frames a second of the clip as loaded.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_prep.clip import Clip
from data_prep.config import margin
from data_prep.datasets.base import Entry, Source

Record = dict[str, Any]
Recipe = Mapping[str, Any]

FORMAT = 1  # raise it whenever a stage or the record changes: cached clips are then made anew
_FUNCTIONS = {"face": "crop", "magnify": "magnify", "keyframes": "select"}


def canonical(content: Any) -> str:
    """JSON text that is equal for equal content, whatever the order of its fields."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def digest(*parts: str) -> str:
    """32 hexadecimal digits that stand for a sequence of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def key_frames(source: Source, recipe: Recipe, entry: Entry) -> tuple[Record, np.ndarray]:
    """Load a clip and apply the stages: its record without the flow, and float32 `[t, S, S]`."""
    loaded = source.load(entry)
    clip = loaded
    for stage in _stages(recipe):
        clip = stage(clip)
    record = {
        "frames": np.rint(clip.frames).clip(0, 255).astype(np.uint8)[..., None],
        "label": source.class_names.index(loaded.label),
        "emotion": loaded.emotion,
        "subject": loaded.subject,
        "clip_id": loaded.clip_id,
        "dataset": loaded.dataset,
        "onset": int(loaded.onset),
        "apex": -1 if loaded.apex is None else int(loaded.apex),
        "offset": int(loaded.offset),
        "apex_index": -1 if clip.apex is None else int(clip.apex),
        "fps": float(loaded.fps),
    }
    return record, np.asarray(clip.frames, np.float32)


def with_flow(record: Record, frames: np.ndarray, recipe: Recipe) -> Record:
    """Add the optical flow of the key frames; jax is imported here and nowhere before."""
    from data_prep.flow import flow

    return {"flow": np.asarray(flow(frames, **recipe["flow"])).astype(np.float16), **record}


def _stages(recipe: Recipe) -> list[Callable[[Clip], Clip]]:
    """The stages in the recipe's order, each with its own section's fields."""
    size, steps = recipe["size"], recipe["steps"]
    fixed = {"face": {"size": size, "margin": margin(size)}, "keyframes": {"count": steps + 1}}
    stages = []
    for name in recipe["stages"]:
        function = getattr(importlib.import_module(f"data_prep.{name}"), _FUNCTIONS[name])
        stages.append(functools.partial(function, **fixed.get(name, {}), **recipe[name]))
    return stages
