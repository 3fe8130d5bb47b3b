"""One clip made into one record: the stages in their order, then the flow.

`key_frames` and `history` run in worker processes and never import jax; `with_flow` runs in the
parent. What a stage makes of a clip is kept in the cache under a key that stands for the clip's
source and for all stages up to that one: when a stage changes, those before it are not run again.

A clip that is an image of flow already goes through none of this: its record is made by its source
(`source.Finished`), and holds `image`, uint8 `[steps, S, S, 3]`, in place of arrays and marks.

A record of a video is a dict:
  flow: float16 `[steps, S, S, 2]`, (u right, v down) in pixels; S is the size and twice the margin.
  frames: uint8 `[steps + 1, S, S, 1]`, the key frames.
  positions: float32 `[steps + 1]`, where each key frame lies in the frames of the clip as read.
  label: index of the class.
  emotion, subject, clip_id, dataset: text.
  onset, apex, offset: frames of the clip as read; apex -1 when unknown.
  apex_estimated: 1 when nobody marked the apex and `data_prep.stages.apex` found it.
  first: number of the first frame as read, in the names of the source's files.
  apex_index: the apex among the key frames, -1 when unknown.
  fps: frames a second of the clip as read.
  notes: what a user should know of the clip, a line each; mostly empty.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.clip import Clip, Record
from data_prep.common.errors import UserError
from data_prep.config import margin
from data_prep.datasets.base.source import Entry, Source
from data_prep.pipeline import cache
from data_prep.stages.identity import (
    FLOW,
    READ,
    RECORD,
    Recipe,
    canonical_json,
    digest,
    predictor_stamp,
)
from data_prep.stages.table import STAGES


class _Step(NamedTuple):
    """One stage for one clip; `key` stands for all that its result depends on."""

    name: str
    key: str
    apply: Callable[[Clip], Clip]
    path: Path | None  # of its result in the cache


def key_frames(
    source: Source, recipe: Recipe, entry: Entry, cache_dir: Path | None = None
) -> tuple[Record, np.ndarray]:
    """Load a clip and apply the stages, from the last one whose result is in the cache.

    Args:
      source: what the entry is loaded from.
      recipe: the fields of `data_prep.config.recipe()` as a plain dict.
      entry: the clip.
      cache_dir: where results of stages are kept; None keeps none.

    Returns:
      Its record without the flow, and the key frames, float32 `[steps + 1, S, S]`.

    Raises:
      UserError: the clip cannot be used.
    """
    steps = _steps(source, recipe, entry, cache_dir)
    left = steps
    for done in range(len(steps), 0, -1):  # the newest result that is kept
        kept = _read_cached(steps[done - 1])
        if kept:
            (clip, known), left = kept, steps[done:]
            break
    else:
        clip = _load(source, entry)
        known = facts(clip)
    for step in left:
        clip = _apply(step, clip, known)
    return assemble(known, clip, source.class_names)


def facts(clip: Clip) -> Record:
    """What a record says of the clip as read."""
    return {
        "emotion": clip.emotion,
        "subject": clip.subject,
        "clip_id": clip.clip_id,
        "dataset": clip.dataset,
        "onset": int(clip.onset),
        "offset": int(clip.offset),
        "first": int(clip.first),
        "fps": float(clip.fps),
    }


def assemble(
    clip_facts: Record, final_clip: Clip, class_names: Sequence[str]
) -> tuple[Record, np.ndarray]:
    """The record without the flow, and the key frames, float32 `[steps + 1, S, S]`.

    Args:
      clip_facts: the `facts` of the clip as read.
      final_clip: the clip after the last stage.
      class_names: in the order of the labels.
    """
    frames = np.asarray(final_clip.frames, np.float32)
    positions = np.asarray(final_clip.positions, np.float32)
    record = {
        "frames": np.rint(frames).clip(0, 255).astype(np.uint8)[..., None],
        "positions": positions,
        **clip_facts,
        "label": class_names.index(final_clip.label),
        # The apex is a key frame under every rule.
        "apex": -1 if final_clip.apex is None else round(float(positions[final_clip.apex])),
        "apex_index": -1 if final_clip.apex is None else int(final_clip.apex),
        "apex_estimated": int(final_clip.apex_estimated),
        "notes": "\n".join(final_clip.notes),
    }
    return record, frames


def apply_stages(clip: Clip, recipe: Recipe, stages: Sequence[str]) -> tuple[Record, np.ndarray]:
    """Apply stages to a clip that is in memory and has no class; nothing is cached.

    Args:
      clip: as read, or as the stage before the first one leaves it.
      recipe: the fields of `data_prep.config.recipe()` as a plain dict.
      stages: those of the recipe that are left, in order.

    Returns:
      As `key_frames`.

    Raises:
      UserError: the clip cannot be used.
    """
    known = facts(clip)
    for name in stages:
        clip = STAGES[name].apply(clip, **_fields(name, recipe))
    return assemble(known, clip, (clip.label,))


def with_flow(record: Record, frames: np.ndarray, recipe: Recipe) -> Record:
    """Add the optical flow of the key frames; jax is imported here and nowhere before."""
    from data_prep.stages.flow import flow

    return {"flow": np.asarray(flow(frames, **recipe["flow"])).astype(np.float16), **record}


def history(
    source: Source, recipe: Recipe, entry: Entry, cache_dir: Path | None = None
) -> dict[str, Clip]:
    """The clip as read, under 'source', and after each stage, under the stage's name, in order.

    Args and errors are those of `key_frames`.
    """
    clip = _load(source, entry)
    clips, known = {"source": clip}, facts(clip)
    for step in _steps(source, recipe, entry, cache_dir):
        kept = _read_cached(step)
        clip = kept[0] if kept else _apply(step, clip, known)
        clips[step.name] = clip
    return clips


def cache_path(source: Source, recipe: Recipe, entry: Entry, cache_dir: Path) -> Path:
    """Where the cache keeps the finished record of an entry."""
    before = _steps(source, recipe, entry, None)[-1].key
    later = canonical_json([FLOW, RECORD])
    key = digest(before, later, canonical_json(recipe["flow"]), canonical_json(source.class_names))
    return _cache_file(cache_dir, source, "record", key)


def _steps(source: Source, recipe: Recipe, entry: Entry, cache_dir: Path | None) -> list[_Step]:
    """List the stages in the recipe's order, each with its own section's fields."""
    key = digest(str(READ), entry.name, entry.key)
    steps = []
    for name in recipe["stages"]:
        stage, fields = STAGES[name], _fields(name, recipe)
        content = predictor_stamp(recipe) if name == "face" else ()
        key = digest(key, name, str(stage.version), canonical_json(fields), *content)
        kept = _cache_file(cache_dir, source, name, key) if cache_dir and stage.cached else None
        steps.append(_Step(name, key, functools.partial(stage.apply, **fields), kept))
    return steps


def _fields(name: str, recipe: Recipe) -> dict[str, Any]:
    """What a stage's function is given beside the clip."""
    size, steps = recipe["size"], recipe["steps"]
    fixed = {"face": {"size": size, "margin": margin(size)}, "keyframes": {"count": steps + 1}}
    return {**fixed.get(name, {}), **recipe[name]}


def _cache_file(cache_dir: Path, source: Source, name: str, key: str) -> Path:
    return cache_dir / source.name / name / f"{key}.npz"


def _load(source: Source, entry: Entry) -> Clip:
    """The clip as read; a file that may not be read is this clip's failure, not the disk's."""
    try:
        return source.load(entry)
    except OSError as error:
        raise UserError(
            f"{error.filename or entry.name}: cannot be read ({error.strerror or error}). Check "
            "the file and who may read it."
        ) from error


def _read_cached(step: _Step) -> tuple[Clip, Record] | None:
    """Read a step's result and the facts of the clip from the cache; None where there is none."""
    stored = cache.read(step.path) if step.path else None
    if stored is None:
        return None
    known, notes = stored.pop("facts"), stored.pop("notes")
    return Clip(**stored, notes=tuple(notes)), known


def _apply(step: _Step, clip: Clip, clip_facts: Record) -> Clip:
    """Apply a step to the clip before it, and keep the result where it is to be kept."""
    clip = step.apply(clip)
    if step.path:
        cache.write(step.path, {**vars(clip), "facts": clip_facts})
    return clip
