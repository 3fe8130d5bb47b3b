"""The page of one movement: the input, the answers of the heads, and where the network looked.

Its sentences are in `report/templates/movement.html` and `report/templates/movement/`. This module
computes the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.common import files
from data_prep.preview import flow_colour
from mser_jax.predict.answers import Answer
from mser_jax.predict.explain import pictures
from mser_jax.predict.explain.gradcam import STAGES, Reason
from mser_jax.predict.explain.shown import ReasonView
from mser_jax.predict.views.common import format_time
from mser_jax.report import page

_MIN_REACH = 0.1  # px of the full colour: else the noise of a clip at rest would glow
_MIN_STRAIN = 0.01
_UNUSED = 236  # grey of a stage that the head does not see


class StepPicture(NamedTuple):
    """A picture of one key frame or time step.

    Attributes:
      index: Number of the key frame, or of the key frame that ends the step.
      label: Name of the key frame, with its time.
      png: The picture.
    """

    index: int
    label: str
    png: bytes


def write(
    path: Path,
    answer: Answer,
    record: Mapping[str, Any],
    reason: Reason,
    *,
    title: str,
    faces: bool = True,
    temperature_note: str = "",
    rule: str = "",
    channels: Sequence[str] | None = None,
    alpha: float = 0.0,
) -> None:
    """Write the page of a movement as one self-contained file.

    Args:
      path: Output file in an existing folder.
      answer: Class of the movement.
      record: Record of the movement, with flow (`data_prep.pipeline.record`).
      reason: Explanation of the same movement, usually for its answered class.
      title: Name of the source, such as a video's name.
      faces: Whether the page may show faces. Without faces the maps remain. The maps of a network
        that sees key frames may still hint at the outline of a face.
      temperature_note: Sentence on how the confidence was calibrated; '' if it was not.
      rule: Rule that gives the answer from the heads (`serving.RULES`); '' leaves it out.
      channels: Flow channels that the network sees; empty if it sees the key frames instead. None
        leaves them out.
      alpha: Magnification of the movement; 0 for none.

    Raises:
      UserError: The file cannot be written.
    """
    view = ReasonView(answer, record, reason, faces)
    marks = zip(answer.times, (answer.onset, answer.apex, answer.offset))
    steps = list(range(1, len(view.flow) + 1))
    reach = max(float(np.quantile(np.hypot(*np.moveaxis(view.flow, -1, 0)), 0.99)), _MIN_REACH)
    strains = [flow_colour.strain(flow) for flow in view.flow]
    max_strain = max(float(np.quantile(strains, 0.995)), _MIN_STRAIN)
    frames = range(len(record["frames"]) if faces else 0)
    # X2, the finest stage, has an entry for several steps: show the first step of each.
    stride = -(-len(steps) // reason.sizes[0][0])
    content = page.render(
        "movement.html",
        title=title,
        answer=answer,
        view=view,
        faces=faces,
        temperature_note=temperature_note,
        rule=rule,
        channels=channels,
        alpha=alpha,
        marks=[f"{format_time(seconds)} (frame {frame})" for seconds, frame in marks],
        stages=STAGES,
        cascaded=bool(reason.uses_stage.all()),
        key_frames=_pictures(view, frames, map(view.face, frames)),
        reach=reach,
        flows=_pictures(view, steps, (flow_colour.colours(flow, reach) for flow in view.flow)),
        max_strain=max_strain,
        strains=_pictures(view, steps, (pictures.strain(s, max_strain) for s in strains)),
        wheel=pictures.png(flow_colour.legend(160)),
        colour_bars={name: pictures.colour_bar(name) for name in ("heat", "weights", "strain")},
        cams=[
            [_draw_cam(view, head, stage) for stage in range(len(STAGES))]
            for head in range(len(reason.cams))
        ],
        has_support=reason.cams.any(axis=(2, 3, 4)).tolist(),
        stride=stride,
        cam_steps=_pictures(
            view,
            steps[::stride],
            (
                pictures.overlay_heat(view.face(step), reason.cams[view.head, 0, step - 1])
                for step in steps[::stride]
            ),
        ),
        attention=_draw_attention(view),
        branches=[
            (name, pictures.branch_chart(name, weights))
            for name, weights in reason.branches.items()
        ],
    )
    with files.atomic_file(path) as part:
        part.write_text(content, encoding="utf-8")


def _pictures(
    view: ReasonView, frames: Sequence[int], images: Iterable[np.ndarray]
) -> list[StepPicture]:
    """Encode an image of each of these key frames, or of the steps that end there."""
    return [
        StepPicture(index, view.time_label(index), pictures.png(image))
        for index, image in zip(frames, images, strict=True)
    ]


def _draw_cam(view: ReasonView, head: int, stage: int) -> bytes:
    """Draw the maximum over time of a head's Grad-CAM at a stage, as PNG."""
    face = view.face(view.background_frame)
    if not view.reason.uses_stage[head, stage]:
        face = np.full_like(face, _UNUSED)
    return pictures.png(pictures.overlay_heat(face, view.reason.cams[head, stage].max(axis=0)))


def _draw_attention(view: ReasonView) -> tuple[bytes, bytes] | None:
    """Draw the attention over time and over the face as PNG; None without attention."""
    time, space = view.reason.time_weights, view.reason.space_weights
    if time is None or space is None:
        return None
    apex = None if view.apex in (None, 0) else view.apex - 1
    face = pictures.overlay_weights(view.face(view.background_frame), space)
    return pictures.attention_chart(time, apex), pictures.png(face)
