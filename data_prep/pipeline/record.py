"""Turns one clip into one record: the stages in order, then the flow.

`key_frames` and `history` run in worker processes and never import jax; `with_flow` runs in the
parent. The result of a stage is cached under a key that depends on the clip's source and on all
stages up to that one: if a stage changes, the stages before it are not run again.

A clip that is already an image of flow skips all of this: its source makes the record
(`source.ImageSource`), which holds `image`, uint8 `[steps, S, S, 3]`, instead of arrays and marks.

A record of a video is a dict:
  flow: float16 `[steps, S, S, 2]`, (u right, v down) in pixels; S is the size plus twice the
    margin.
  frames: uint8 `[steps + 1, S, S, 1]`, the key frames.
  positions: float32 `[steps + 1]`, position of each key frame among the clip's frames as read.
  label: Index of the class.
  emotion, subject, clip_id, dataset: Text.
  onset, apex, offset: Indices into the clip's frames as read; apex is -1 if unknown.
  apex_estimated: 1 if `data_prep.stages.apex` estimated the apex, which was not marked.
  first: Number of the first frame as read, as in the source's file names.
  apex_index: Index of the apex among the key frames; -1 if unknown.
  fps: Frames per second of the clip as read.
  notes: Doubts about the clip, one line each; usually empty.
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
    """One stage for one clip. `key` stands for everything that its result depends on."""

    name: str
    key: str
    apply: Callable[[Clip], Clip]
    path: Path | None  # Cache file of its result.


def key_frames(
    source: Source, recipe: Recipe, entry: Entry, cache_dir: Path | None = None
) -> tuple[Record, np.ndarray]:
    """Load a clip and apply the stages, starting after the last cached result.

    Args:
      source: Source of the entry.
      recipe: Fields of `data_prep.config.recipe()` as a plain dict.
      entry: The clip.
      cache_dir: Folder for the results of stages; None caches nothing.

    Returns:
      The record without the flow, and the key frames, float32 `[steps + 1, S, S]`.

    Raises:
      UserError: The clip cannot be used.
    """
    steps = _steps(source, recipe, entry, cache_dir)
    remaining = steps
    for done in range(len(steps), 0, -1):  # Find the latest cached result.
        cached = _read_cached(steps[done - 1])
        if cached:
            (clip, clip_facts), remaining = cached, steps[done:]
            break
    else:
        clip = _load(source, entry)
        clip_facts = facts(clip)
    for step in remaining:
        clip = _apply(step, clip, clip_facts)
    return assemble(clip_facts, clip, source.class_names)


def facts(clip: Clip) -> Record:
    """Return the fields of a record that describe the clip as read."""
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
    """Return a clip's record, which still lacks the flow, and its key frames.

    Args:
      clip_facts: Result of `facts` for the clip as read.
      final_clip: The clip after the last stage.
      class_names: Classes in the order of the labels.

    Returns:
      The record, and the key frames, float32 `[steps + 1, S, S]`, S the side in px.
    """
    frames = np.asarray(final_clip.frames, np.float32)
    positions = np.asarray(final_clip.positions, np.float32)
    record = {
        "frames": np.rint(frames).clip(0, 255).astype(np.uint8)[..., None],
        "positions": positions,
        **clip_facts,
        "label": class_names.index(final_clip.label),
        # Every rule makes the apex a key frame.
        "apex": -1 if final_clip.apex is None else round(float(positions[final_clip.apex])),
        "apex_index": -1 if final_clip.apex is None else int(final_clip.apex),
        "apex_estimated": int(final_clip.apex_estimated),
        "notes": "\n".join(final_clip.notes),
    }
    return record, frames


def apply_stages(clip: Clip, recipe: Recipe, stages: Sequence[str]) -> tuple[Record, np.ndarray]:
    """Apply stages to a clip in memory that has no class. Nothing is cached.

    Args:
      clip: Clip as read, or as the stage before `stages[0]` leaves it.
      recipe: Fields of `data_prep.config.recipe()` as a plain dict.
      stages: The remaining stages of the recipe, in order.

    Returns:
      The record without the flow, and the key frames, as `key_frames` returns them.

    Raises:
      UserError: The clip cannot be used.
    """
    clip_facts = facts(clip)
    for name in stages:
        clip = STAGES[name].apply(clip, **_fields(name, recipe))
    return assemble(clip_facts, clip, (clip.label,))


def with_flow(record: Record, frames: np.ndarray, recipe: Recipe) -> Record:
    """Return the record with the optical flow of its key frames.

    jax is imported only here, so that worker processes stay without it.
    """
    from data_prep.stages.flow import flow

    return {"flow": np.asarray(flow(frames, **recipe["flow"])).astype(np.float16), **record}


def history(
    source: Source, recipe: Recipe, entry: Entry, cache_dir: Path | None = None
) -> dict[str, Clip]:
    """Return the clip as read, under 'source', and after each stage, in order.

    The keys of the stages are their names. Args and errors are those of `key_frames`.
    """
    clip = _load(source, entry)
    clips, clip_facts = {"source": clip}, facts(clip)
    for step in _steps(source, recipe, entry, cache_dir):
        cached = _read_cached(step)
        clip = cached[0] if cached else _apply(step, clip, clip_facts)
        clips[step.name] = clip
    return clips


def cache_path(source: Source, recipe: Recipe, entry: Entry, cache_dir: Path) -> Path:
    """Return the cache file of an entry's finished record."""
    stages_key = _steps(source, recipe, entry, None)[-1].key
    versions = canonical_json([FLOW, RECORD])
    key = digest(
        stages_key, versions, canonical_json(recipe["flow"]), canonical_json(source.class_names)
    )
    return _cache_file(cache_dir, source, "record", key)


def _steps(source: Source, recipe: Recipe, entry: Entry, cache_dir: Path | None) -> list[_Step]:
    """List the stages in the recipe's order, each with its own section's fields."""
    key = digest(str(READ), entry.name, entry.key)
    steps = []
    for name in recipe["stages"]:
        stage, fields = STAGES[name], _fields(name, recipe)
        content = predictor_stamp(recipe) if name == "face" else ()
        key = digest(key, name, str(stage.version), canonical_json(fields), *content)
        path = _cache_file(cache_dir, source, name, key) if cache_dir and stage.cached else None
        steps.append(_Step(name, key, functools.partial(stage.apply, **fields), path))
    return steps


def _fields(name: str, recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of a stage's function besides the clip."""
    size, steps = recipe["size"], recipe["steps"]
    fixed = {"face": {"size": size, "margin": margin(size)}, "keyframes": {"count": steps + 1}}
    return {**fixed.get(name, {}), **recipe[name]}


def _cache_file(cache_dir: Path, source: Source, name: str, key: str) -> Path:
    return cache_dir / source.name / name / f"{key}.npz"


def _load(source: Source, entry: Entry) -> Clip:
    """Load the clip; an unreadable file fails this clip, not the run."""
    try:
        return source.load(entry)
    except OSError as error:
        raise UserError(
            f"{error.filename or entry.name}: cannot be read ({error.strerror or error}). Fix: "
            "check the file and its permissions."
        ) from error


def _read_cached(step: _Step) -> tuple[Clip, Record] | None:
    """Return a step's cached clip and the facts of its source clip, or None."""
    values = cache.read(step.path) if step.path else None
    if values is None:
        return None
    clip_facts, notes = values.pop("facts"), values.pop("notes")
    return Clip(**values, notes=tuple(notes)), clip_facts


def _apply(step: _Step, clip: Clip, clip_facts: Record) -> Clip:
    """Apply a step to a clip and cache the result if the step has a path."""
    clip = step.apply(clip)
    if step.path:
        cache.write(step.path, {**vars(clip), "facts": clip_facts})
    return clip
