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

import dataclasses
import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.config import is_images, margin
from data_prep.datasets.base.source import Entry, Source
from data_prep.pipeline import cache

Record = dict[str, Any]
Recipe = Mapping[str, Any]

# Raise a stage's number when its code gives other values, and that of 'read' when the readers or
# `Clip` change; what follows a stage is then made anew too.
VERSIONS = {"read": 4, "face": 2, "apex": 1, "magnify": 3, "keyframes": 2, "flow": 2, "record": 3}
VERSIONS_OF_IMAGES = {"image": 1}  # likewise, of the sources of images
_FUNCTIONS = {"face": "crop", "apex": "estimate", "magnify": "magnify", "keyframes": "select"}
_NOT_KEPT = ("apex",)  # its result is the faces again with one number more, and soon made anew


@dataclasses.dataclass(frozen=True)
class _Stage:
    """One step of the recipe for one clip; `key` stands for all that its result depends on."""

    name: str
    key: str
    apply: Callable[[Clip], Clip]
    path: Path | None  # of its result in the cache


@dataclasses.dataclass(frozen=True)
class _Made:
    """A clip after some stage, and the facts that a record takes from the clip as read."""

    clip: Clip
    facts: Record


def canonical(content: Any) -> str:
    """JSON text that is equal for equal content, whatever the order of its fields."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def digest(*parts: str) -> str:
    """32 hexadecimal digits that stand for a sequence of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def made_with(recipe: Recipe) -> tuple[str, ...]:
    """Texts that stand for all that makes a record of a clip: our code, and the recipe."""
    model = () if is_images(recipe) else own_model(recipe)
    return canonical(versions(recipe)), canonical(recipe), *model


def versions(recipe: Recipe) -> Mapping[str, int]:
    """The number of the code of each stage, as it is now."""
    return VERSIONS_OF_IMAGES if is_images(recipe) else VERSIONS


def fingerprint(recipe: Recipe) -> str:
    """16 hexadecimal digits that stand for the recipe and our code, on any machine."""
    return digest(*made_with(recipe)[:2])[:16]


def own_model(recipe: Recipe) -> tuple[str, ...]:
    """What stands for the content of `face.model`; nothing where the recipe names no such file."""
    file = Path(recipe["face"]["model"]).expanduser()
    if not file.is_file():
        return ()
    return (f"{file.stat().st_size} {file.stat().st_mtime_ns}",)


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
    made = _after(_stages(source, recipe, entry, cache_dir), source, entry)
    return assemble(made.facts, made.clip, source.class_names)


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


def assemble(known: Record, last: Clip, class_names: Sequence[str]) -> tuple[Record, np.ndarray]:
    """The record without the flow, and the key frames, float32 `[steps + 1, S, S]`.

    Args:
      known: the `facts` of the clip as read.
      last: the clip after the last stage.
      class_names: in the order of the labels.
    """
    frames = np.asarray(last.frames, np.float32)
    positions = np.asarray(last.positions, np.float32)
    record = {
        "frames": np.rint(frames).clip(0, 255).astype(np.uint8)[..., None],
        "positions": positions,
        **known,
        "label": class_names.index(last.label),
        # The apex is a key frame under every rule.
        "apex": -1 if last.apex is None else round(float(positions[last.apex])),
        "apex_index": -1 if last.apex is None else int(last.apex),
        "apex_estimated": int(last.apex_estimated),
        "notes": "\n".join(last.notes),
    }
    return record, frames


def through(clip: Clip, recipe: Recipe, stages: Sequence[str]) -> tuple[Record, np.ndarray]:
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
        clip = _function(name)(clip, **_fields(name, recipe))
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
    clips, made = {"source": clip}, _Made(clip, facts(clip))
    for stage in _stages(source, recipe, entry, cache_dir):
        made = _apply(stage, lambda made=made: made)
        clips[stage.name] = made.clip
    return clips


def path(source: Source, recipe: Recipe, entry: Entry, cache_dir: Path) -> Path:
    """Where the cache keeps the finished record of an entry."""
    before = _stages(source, recipe, entry, None)[-1].key
    later = canonical([VERSIONS["flow"], VERSIONS["record"]])
    key = digest(before, later, canonical(recipe["flow"]), canonical(source.class_names))
    return _place(cache_dir, source, "record", key)


def _stages(source: Source, recipe: Recipe, entry: Entry, cache_dir: Path | None) -> list[_Stage]:
    """The stages in the recipe's order, each with its own section's fields."""
    key = digest(str(VERSIONS["read"]), entry.name, entry.key)
    stages = []
    for name in recipe["stages"]:
        fields = _fields(name, recipe)
        content = own_model(recipe) if name == "face" else ()
        key = digest(key, name, str(VERSIONS[name]), canonical(fields), *content)
        keep = None if name in _NOT_KEPT else cache_dir
        kept = None if keep is None else _place(keep, source, name, key)
        stages.append(_Stage(name, key, functools.partial(_function(name), **fields), kept))
    return stages


def _function(name: str) -> Callable[..., Clip]:
    """Of a stage."""
    return getattr(importlib.import_module(f"data_prep.{name}"), _FUNCTIONS[name])


def _fields(name: str, recipe: Recipe) -> dict[str, Any]:
    """What a stage's function is given beside the clip."""
    size, steps = recipe["size"], recipe["steps"]
    fixed = {"face": {"size": size, "margin": margin(size)}, "keyframes": {"count": steps + 1}}
    return {**fixed.get(name, {}), **recipe[name]}


def _place(cache_dir: Path, source: Source, name: str, key: str) -> Path:
    return cache_dir / source.name / name / f"{key}.npz"


def _after(stages: list[_Stage], source: Source, entry: Entry) -> _Made:
    """The clip after the last of the stages; the earlier ones run only when they have to."""
    if not stages:
        clip = _load(source, entry)
        return _Made(clip, facts(clip))
    *earlier, last = stages
    return _apply(last, functools.partial(_after, earlier, source, entry))


def _load(source: Source, entry: Entry) -> Clip:
    """The clip as read; a file that may not be read is this clip's failure, not the disk's."""
    try:
        return source.load(entry)
    except OSError as error:
        raise UserError(
            f"{error.filename or entry.name}: cannot be read ({error.strerror or error}). Check "
            "the file and who may read it."
        ) from error


def _apply(stage: _Stage, before: Callable[[], _Made]) -> _Made:
    """The stage's result from the cache, or made from what `before` gives, and kept."""
    stored = cache.read(stage.path) if stage.path else None
    if stored is not None:
        known, notes = stored.pop("facts"), stored.pop("notes")
        return _Made(Clip(**stored, notes=tuple(notes)), known)
    earlier = before()
    clip = stage.apply(earlier.clip)
    if stage.path:
        cache.write(stage.path, {**vars(clip), "facts": earlier.facts})
    return _Made(clip, earlier.facts)
