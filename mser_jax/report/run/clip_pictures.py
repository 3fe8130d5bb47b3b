"""Pictures of the hardest clips, as files in the run's folder that the page links to.

They show faces, and most databases forbid publishing them. A page that is passed on alone shows
none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.preview import flow_colour
from data_prep.shards import dataset as shards
from mser_jax.evaluate import hardest
from mser_jax.evaluate.predictions import Predictions
from mser_jax.storage import history

SIDE, GAP = 256, 8  # px of a part, and of the white between two
MIN_REACH = 0.1  # px of the full colour: else the noise of a clip at rest would glow
_LEGEND = 160  # px
_NOT_RECORDED = "This run did not record where its prepared clips are."
_REMEDY = (
    "Fix: run the same command with --mode=evaluate, which prepares missing clips again "
    "and ends with this page."
)


def draw(
    workdir: Path, predictions: Predictions, config: Mapping[str, Any], events: list[dict]
) -> hardest.Pictures:
    """Draw the hardest clips and remove what an earlier report drew.

    Without the prepared clips, the pictures of an earlier report are kept. Pictures of faces are
    removed in any case if `config.report.faces` is False.

    Args:
      workdir: Folder of the run.
      predictions: Prediction table of the run.
      config: Fields of the run, as in config.json.
      events: Events of log.jsonl. The newest 'data' event says where the prepared clips are.

    Raises:
      UserError: Every fold failed, or the configured rule does not exist.
    """
    kind = _kind(config)
    rows = hardest.clips(predictions, config["evaluation"]["select"])["clips"]
    names = hardest.clip_names(rows)
    paths = {clip: workdir / hardest.FOLDER / hardest.file_name(clip, kind) for clip in names}
    _remove_old_pictures(workdir / hardest.FOLDER, {path.name for path in paths.values()})
    reason = ""
    try:
        for clip, record in _records(history.last(events, "data").get("set"), config, {*names}):
            paths[clip].parent.mkdir(exist_ok=True)
            paths[clip].write_bytes(_encode_png(picture(record, kind)))
    except UserError as error:  # the page tells it: a report needs no prepared clips
        reason = str(error)
    files = {clip: path.name for clip, path in paths.items() if path.is_file()}
    missing = (
        "" if len(files) == len(names) else reason or "Some clips are not in the prepared set."
    )
    legend = b"" if kind == hardest.IMAGE else _encode_png(flow_colour.legend(_LEGEND))
    return hardest.Pictures(kind, files, missing, legend)


def picture(record: Mapping[str, Any], kind: str) -> np.ndarray:
    """Draw the parts of a clip side by side, each `SIDE` px square.

    Args:
      record: Record of a prepared set (`data_prep.pipeline.record`).
      kind: `hardest.FACES`: first key frame, apex (the middle frame if unknown), and the flow that
        ends there. `FLOW`: the flow alone. `IMAGE`: the channels u, v and strain of the image.

    Returns:
      RGB image `[SIDE, w, 3]`, uint8.
    """
    if kind == hardest.IMAGE:
        image = record["image"][len(record["image"]) // 2]
        return _side_by_side(
            [_draw_grey(image[..., channel]) for channel in range(image.shape[-1])]
        )
    frames, apex = record["frames"][..., 0], int(record["apex_index"])
    at = apex if apex > 0 else len(frames) // 2  # no flow ends at the first key frame
    flow = _draw_flow(record["flow"][at - 1])
    if kind == hardest.FLOW:
        return flow
    return _side_by_side([_draw_grey(frames[0]), _draw_grey(frames[at]), flow])


def _kind(config: Mapping[str, Any]) -> str:
    if config["input"]["kind"] == "images":
        return hardest.IMAGE
    report = config["report"]
    return hardest.FACES if report["faces"] else hardest.FLOW


def _records(
    path: str | None, config: Mapping[str, Any], clip_names: set[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the records of the named clips with their names, in the order of the set."""
    if not path:
        raise UserError(f"{_NOT_RECORDED} {_REMEDY}")
    if not shards.is_finished(Path(path)):
        raise UserError(f"The prepared clips are not at {path} any more. {_REMEDY}")
    stored, left = shards.load_shards(path, config["prep"]), set(clip_names)
    for index in range(len(stored) if left else 0):
        record = stored[index]
        clip = hardest.clip_name(record["dataset"], record["subject"], record["clip_id"])
        if clip in left:
            left.remove(clip)
            yield clip, record
        if not left:
            return


def _remove_old_pictures(folder: Path, file_names: set[str]) -> None:
    """Remove pictures that this report does not show, and the folder if it is empty."""
    for path in folder.glob("*.png"):
        if path.name not in file_names:
            path.unlink()
    with contextlib.suppress(OSError):  # it is not there, or has something in it
        folder.rmdir()


def _draw_flow(flow: np.ndarray) -> np.ndarray:
    large = cv2.resize(np.asarray(flow, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    reach = float(np.quantile(np.hypot(large[..., 0], large[..., 1]), 0.99))
    return flow_colour.colours(large, max(reach, MIN_REACH))


def _draw_grey(image: np.ndarray) -> np.ndarray:
    """Convert a grey image `[h, w]`, uint8, to RGB of `SIDE` px."""
    interpolation = cv2.INTER_CUBIC if len(image) < SIDE else cv2.INTER_AREA
    large = cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=interpolation)
    return np.repeat(large[..., None], 3, axis=-1)


def _side_by_side(parts: list[np.ndarray]) -> np.ndarray:
    white = np.full((SIDE, GAP, 3), 255, np.uint8)
    row = [piece for part in parts for piece in (white, part)]
    return np.concatenate(row[1:], axis=1)


def _encode_png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
