"""Prepares one video without a database: `python -m data_prep --video=face.mp4 --out=clip/`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.clip import Clip
from data_prep.common import folders
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.config import context_seconds
from data_prep.pipeline import record
from data_prep.pipeline.video_source import MarkedVideo, VideoSource
from data_prep.preview import film as preview
from data_prep.stages import identity

SETTINGS = "clip.json"


def prepare(
    video: MarkedVideo,
    out: Path,
    recipe: identity.Recipe,
    print_line: Callable[[str], None] = print,
) -> None:
    """Write key frames, optical flow and a preview of one video.

    `out` then holds flow.npy (float16 `[steps, S, S, 2]`, px), the key frames as PNG, preview.png,
    preview.mp4, slices.png, and clip.json with the marks and settings. It appears when it is
    complete.

    Args:
      video: The video.
      out: Folder that does not exist, is empty, or was written by this function.
      recipe: Fields of `data_prep.config.recipe()` as a plain dict.
      print_line: Called with each line for the user.

    Raises:
      UserError: The video or the folder cannot be used.
    """
    _check_landmarks(video, recipe)
    folders.check_replaceable(out, SETTINGS)
    source = VideoSource(video, context_seconds(recipe))
    history = record.history(source, recipe, video, None)
    *_, final_clip = history.values()
    clip_record, key_frames = record.assemble(
        record.facts(history["source"]), final_clip, source.class_names
    )
    print_line(f"Optical flow of {len(key_frames) - 1} pairs of frames")
    clip_record = record.with_flow(clip_record, key_frames, recipe)
    path = out.resolve()  # If `out` is a link, the folder that it leads to is replaced.
    try:
        with folders.atomic_folder(path, replace=True) as folder:
            _write(folder, video, history, clip_record, recipe)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror or error}). Fix: free disk space, or give "
            "another --out."
        ) from error
    _print_summary(out, history["source"], clip_record, print_line)


def _check_landmarks(video: MarkedVideo, recipe: identity.Recipe) -> None:
    if video.landmarks and (recipe["face"]["points"] != "auto" or recipe["face"]["per_frame"]):
        raise UserError(
            f"--landmarks={video.landmarks}: the file is not used by these settings. Fix: set "
            "--config.prep.face.points=auto and --config.prep.face.per_frame=False."
        )


def _write(
    folder: Path,
    video: MarkedVideo,
    history: Mapping[str, Clip],
    clip_record: record.Record,
    recipe: identity.Recipe,
) -> None:
    np.save(folder / "flow.npy", clip_record["flow"])
    for index, frame in enumerate(clip_record["frames"]):
        (folder / f"key-{index:02d}.png").write_bytes(cv2.imencode(".png", frame)[1].tobytes())
    preview.write(folder, history, clip_record, "preview")
    preview.write_slices(folder / "slices.png", history)
    text = json.dumps(_description(video, history["source"], clip_record, recipe), indent=2)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")


def _description(
    video: MarkedVideo, clip: Clip, clip_record: record.Record, recipe: identity.Recipe
) -> dict[str, Any]:
    """Return the content of `clip.json`. Frames have the source's frame numbers."""
    return {
        "source": str(video.path),
        "fps": clip.fps,
        "onset": clip.first + clip.onset,
        "apex": None if clip_record["apex"] < 0 else clip.first + clip_record["apex"],
        "apex_estimated": bool(clip_record["apex_estimated"]),
        "offset": clip.first + clip.offset,
        "frames_read": [clip.first, clip.first + len(clip.frames) - 1],
        "key_frames": [
            round(clip.first + float(position), 3) for position in clip_record["positions"]
        ],
        "apex_index": None if clip_record["apex_index"] < 0 else clip_record["apex_index"],
        "flow": f"from {recipe['flow']['reference']} key frame, (u right, v down) px of the crop",
        "notes": clip_record["notes"].splitlines(),
        "prep": recipe,
    }


def _print_summary(
    out: Path, clip: Clip, clip_record: record.Record, print_line: Callable[[str], None]
) -> None:
    steps, height, width, _ = clip_record["flow"].shape
    onset, offset = clip.first + clip.onset, clip.first + clip.offset
    seconds = (clip.offset - clip.onset) / clip.fps
    print_line(
        f"Frames {onset} to {offset}, {seconds:.2f} s at {clip.fps:g} frames per second. "
        f"In {out}:\n"
        f"  flow.npy            {steps} flow fields of {width} x {height} px: u right, v down\n"
        f"  key-00.png ...      {steps + 1} key frames\n"
        "  preview.png, .mp4   check these first; slices.png: lines of pixels over time\n"
        f"  {SETTINGS}           onset, apex, offset; key frames; settings"
    )
    if clip_record["apex_estimated"]:
        print_line(f"Estimated apex: frame {clip.first + clip_record['apex']}.")
    for note in clip_record["notes"].splitlines():
        print_line(textwrap.fill(f"Note: {note}", 79))
