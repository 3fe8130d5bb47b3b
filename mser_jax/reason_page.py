"""The page of one movement: what was seen, what each head says, and what the network looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import flow_colour
from mser_jax import page, reason_pictures, reason_text, whole_file, wording
from mser_jax.answer_view import clock
from mser_jax.answers import Answer
from mser_jax.gradcam import STAGES, Reason
from mser_jax.page import Markup

_LEAST_REACH = 0.1  # px of the full colour: else the noise of a clip at rest would glow
_LEAST_STRAIN = 0.01
_NARROW = "5rem"  # the least width of a picture in a strip
_GAP = "0.5rem"


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
) -> None:
    """Write the page of a movement as one file, which needs nothing beside it.

    Args:
      path: of the file; its folder is there.
      answer: the class of the movement.
      record: of the movement, with flow (`data_prep.record`).
      reason: for the same movement, as a rule for the class that was answered.
      title: what the movement is of, as the name of a video.
      faces: whether pixels of the face may be shown.
      temperature_note: how the confidence was calibrated, a sentence; '' where it was not.
      rule: how the answer comes from the heads (`mser_jax.serving.RULES`); '' says nothing of it.
      channels: of the flow that the network sees; empty where it sees the key frames instead; None
        says nothing of it.

    Raises:
      UserError: the file cannot be written.
    """
    shown = _Shown(answer, record, reason, faces)
    content = page.document(
        f"{title}: {answer.label}",
        *_header(answer, title, temperature_note),
        _heads(shown, rule),
        *_key_frames(shown),
        _movement(shown, channels),
        _looked(shown),
        _over_time(shown),
        _attention(shown),
        _branches(reason),
        reason_text.how_to_read(reason),
        wording.footer(),
    )
    with whole_file.at(path) as part:
        part.write_text(content, encoding="utf-8")


@dataclasses.dataclass(frozen=True, eq=False)
class _Shown:
    """A movement, with its pictures as the network's window cuts them out."""

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
    def background(self) -> int:
        """The key frame that maps are drawn over: the apex, or the middle."""
        return len(self.record["frames"]) // 2 if self.apex is None else self.apex

    @cached_property
    def flow(self) -> np.ndarray:
        """Float32 `[t, h, w, 2]`, px."""
        return self._window(self.record["flow"]).astype(np.float32)

    def face(self, key_frame: int) -> np.ndarray:
        """Uint8 `[h, w]`; plain grey where no face may be shown."""
        face = self._window(self.record["frames"][key_frame][None])[0, ..., 0]
        return face if self.faces else np.full_like(face, reason_pictures.GREY)

    @property
    def head(self) -> int:
        """The head that answers, from 0; of a mean the one that is surest of the class."""
        if self.answer.head is not None:
            return self.answer.head - 1
        return int(self.reason.probabilities[:, self.reason.target].argmax())

    def when(self, key_frame: int) -> str:
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


def _header(answer: Answer, title: str, temperature_note: str) -> Iterator[Markup]:
    yield page.tag("p", title, class_="over")
    yield page.tag("h1", answer.label)
    kind = temperature_note or "Not calibrated: it is what the network itself gives."
    yield page.tag(
        "p", page.tag("strong", f"Confidence {answer.confidence:.1%}"), f". {kind}", class_="lead"
    )
    marks = zip(
        ("onset", "apex", "offset"), answer.times, (answer.onset, answer.apex, answer.offset)
    )
    rows = [(name, f"{clock(seconds)} (frame {frame})") for name, seconds, frame in marks]
    if answer.apex_estimated:
        rows[1] = "apex, estimated", rows[1][1]
    if answer.movement is not None:
        rows.append(("movement at the apex", f"{answer.movement:.2f} px of the crop"))
    yield page.pairs(rows)
    yield from (page.tag("p", note, class_="note") for note in answer.notes)


def _heads(shown: _Shown, rule: str) -> Markup:
    """The probabilities that each head gives, and the answer's."""
    answer, names = shown.answer, list(shown.answer.probabilities)
    rows = [
        [reason_text.head_name(number, len(answer.heads)), *_shares(of_head, names)]
        for number, of_head in enumerate(answer.heads)
    ]
    rows.append(["answer", *_shares(answer.probabilities, names)])
    return page.section(
        "What each head says",
        page.tag("p", reason_text.why_this_head(answer, rule)),
        page.table(["", *names], rows, marked=len(rows) - 1),
    )


def _shares(probabilities: Mapping[str, float], names: Sequence[str]) -> list[Markup]:
    return [
        page.join([f"{probabilities[name]:.1%}", page.bar(probabilities[name])]) for name in names
    ]


def _key_frames(shown: _Shown) -> Iterator[Markup]:
    if not shown.faces:
        return
    frames = range(len(shown.record["frames"]))
    figures = [_figure(shown.face(at), f"Key frame {at}", shown.when(at)) for at in frames]
    yield page.section("Key frames", _strip(figures, 9))


def _movement(shown: _Shown, channels: Sequence[str] | None) -> Markup:
    """The flow in colour and its strain, at each time step."""
    reach = max(float(np.quantile(np.hypot(*np.moveaxis(shown.flow, -1, 0)), 0.99)), _LEAST_REACH)
    strains = [flow_colour.strain(flow) for flow in shown.flow]
    largest = max(float(np.quantile(strains, 0.995)), _LEAST_STRAIN)
    wheel = page.image(reason_pictures.png(flow_colour.legend(160)), "Wheel of directions")
    told = reason_text.flow_colours(reach)
    return page.section(
        "Flow and strain",
        page.tag("p", reason_text.seen_channels(channels)),
        page.tag("div", wheel, page.tag("p", told, class_="small"), class_="legend"),
        _strip(
            [
                _figure(flow_colour.colours(flow, reach), f"Flow at step {at}", shown.when(at))
                for at, flow in enumerate(shown.flow, 1)
            ],
            8,
        ),
        page.tag("h3", "Strain", style="margin-top:1.4rem"),
        _scale("strain", "0", f"{largest:.3f} and more: how much the skin is stretched or sheared"),
        _strip(
            [
                _figure(reason_pictures.strain(s, largest), f"Strain at step {at}", shown.when(at))
                for at, s in enumerate(strains, 1)
            ],
            8,
        ),
    )


def _looked(shown: _Shown) -> Markup:
    """Grad-CAM of each head at each stage, the largest over time."""
    face, heads = shown.face(shown.background), len(shown.reason.cams)
    parts = []
    for head in range(heads):
        parts.append(page.tag("h3", reason_text.head_name(head, heads), style="margin-top:1rem"))
        parts.append(_strip([_cam(shown, face, head, stage) for stage in range(len(STAGES))], 4))
    return page.section(
        f"Where the network looked for {shown.class_name}",
        page.tag("p", reason_text.grid(shown.apex is not None, shown.faces)),
        _scale("heat", "nothing", "each map's own maximum"),
        page.tag("div", *parts, style="max-width:42rem"),
    )


def _cam(shown: _Shown, face: np.ndarray, head: int, stage: int) -> Markup:
    reason = shown.reason
    largest = reason.cams[head, stage].max(axis=0)
    told = f"{STAGES[stage]}"
    if not reason.sees[head, stage]:
        told += ": the head does not see this stage"
        face = np.full_like(face, 236)
    elif not largest.any():
        told += ": nothing here speaks for the class"
    alt = f"Grad-CAM of head {head + 1} at {STAGES[stage]}"
    return _figure(reason_pictures.over(face, largest), alt, told)


def _over_time(shown: _Shown) -> Markup:
    """Grad-CAM of the answering head at X2, at each step that has an entry of its own there."""
    of_x2 = shown.reason.cams[shown.head, 0]
    every = -(-len(of_x2) // shown.reason.sizes[0][0])
    figures = [
        _figure(
            reason_pictures.over(shown.face(step + 1), of_x2[step]),
            f"Grad-CAM at step {step + 1}",
            shown.when(step + 1),
        )
        for step in range(0, len(of_x2), every)
    ]
    told = reason_text.over_time(shown.head + 1, shown.answer.head is None, every)
    return page.section("When it looked there", page.tag("p", told), _strip(figures, 8))


def _attention(shown: _Shown) -> Markup:
    time, space = shown.reason.time_weights, shown.reason.space_weights
    if time is None or space is None:
        return page.section("Attention", page.tag("p", "This network has no attention."))
    apex = None if shown.apex in (None, 0) else shown.apex - 1
    chart = page.image(reason_pictures.over_time(time, apex), "Attention over the time steps")
    face = reason_pictures.weights_over(shown.face(shown.background), space)
    return page.section(
        "Attention",
        page.tag("p", reason_text.ATTENTION),
        page.tag(
            "div",
            page.tag("figure", chart),
            page.tag(
                "figure",
                page.tag("h3", "attention over the face", style="margin-bottom:.5rem"),
                page.image(reason_pictures.png(face), "Attention over the face"),
                _scale("weights", f"{space.min():.3f}", f"{space.max():.3f}"),
                style="max-width:16rem",
            ),
            class_="figures",
        ),
    )


def _branches(reason: Reason) -> Markup:
    if not reason.branches:
        return page.section("Branches", page.tag("p", "This network has no RC modules."))
    charts = [
        page.image(reason_pictures.branches(name, weighed), f"Weights of the branches of {name}")
        for name, weighed in reason.branches.items()
    ]
    return page.section(
        "Branches",
        page.tag("p", reason_text.BRANCHES),
        page.tag("div", *(page.tag("figure", chart) for chart in charts), class_="figures"),
    )


def _figure(image: np.ndarray, alt: str, told: str) -> Markup:
    picture = page.image(reason_pictures.png(image), alt)
    return page.tag("figure", picture, page.tag("figcaption", told, style="font-size:.8rem"))


def _strip(figures: Sequence[Markup], most: int) -> Markup:
    """Pictures in rows of at most so many, fewer where the page is narrow."""
    width = f"max({_NARROW}, (100% - {most - 1} * {_GAP}) / {most})"
    columns = f"grid-template-columns:repeat(auto-fill, minmax({width}, 1fr))"
    return page.tag("div", *figures, style=f"display:grid;gap:{_GAP};{columns};margin:.6rem 0")


def _scale(name: str, low: str, high: str) -> Markup:
    """A bar of colours between what its ends mean."""
    bar = page.tag(
        "span",
        page.image(reason_pictures.scale(name), "Scale of colours"),
        style="display:inline-block;width:7rem;margin:0 .5rem;vertical-align:middle",
    )
    return page.tag("p", low, bar, high, class_="small")
