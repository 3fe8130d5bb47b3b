"""The page of one movement: the input, the answers of the heads, and where the network looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.common import files
from mser_jax.predict.answers import Answer
from mser_jax.predict.explain import sections as reason_sections
from mser_jax.predict.explain import words
from mser_jax.predict.explain.gradcam import Reason
from mser_jax.predict.explain.shown import ReasonView
from mser_jax.predict.views.common import format_time
from mser_jax.report import html, wording
from mser_jax.report.html import Markup


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
    content = html.document(
        f"{title}: {answer.label}",
        *_header(answer, title, temperature_note),
        _heads_section(view, rule, "answer, calibrated" if temperature_note else "answer"),
        *reason_sections.key_frames(view),
        reason_sections.flow_and_strain(view, channels, alpha),
        reason_sections.gradcam_grid(view),
        reason_sections.gradcam_over_time(view),
        reason_sections.attention(view),
        reason_sections.branches(reason),
        words.how_to_read(reason),
        wording.footer(),
    )
    with files.atomic_file(path) as part:
        part.write_text(content, encoding="utf-8")


def _header(answer: Answer, title: str, temperature_note: str) -> Iterator[Markup]:
    yield html.tag("p", title, class_="over")
    yield html.tag("h1", answer.label)
    kind = temperature_note or "Not calibrated: it is what the network itself gives."
    yield html.tag(
        "p", html.tag("strong", f"Confidence {answer.confidence:.1%}"), f". {kind}", class_="lead"
    )
    marks = zip(
        ("onset", "apex", "offset"), answer.times, (answer.onset, answer.apex, answer.offset)
    )
    rows = [(name, f"{format_time(seconds)} (frame {frame})") for name, seconds, frame in marks]
    if answer.apex_estimated:
        rows[1] = "apex, estimated", rows[1][1]
    if answer.movement is not None:
        rows.append(("movement at the apex", f"{answer.movement:.2f} px of the crop"))
    yield html.definition_list(rows)
    yield from (html.tag("p", note, class_="note") for note in answer.notes)


def _heads_section(view: ReasonView, rule: str, answer_name: str) -> Markup:
    """Show the probabilities of each head, and below them the answer's."""
    answer, names = view.answer, list(view.answer.probabilities)
    rows = [
        [words.head_name(number, view.reason.uses_stage), *_probability_cells(probabilities, names)]
        for number, probabilities in enumerate(answer.heads)
    ]
    rows.append([answer_name, *_probability_cells(answer.probabilities, names)])
    return html.section(
        "What each head says",
        html.tag("p", words.why_this_head(answer, rule)),
        html.tag("p", f"The heads are as the network gives them; below them the {answer_name}."),
        html.table(["", *names], rows, marked_row=len(rows) - 1),
    )


def _probability_cells(probabilities: Mapping[str, float], names: Sequence[str]) -> list[Markup]:
    return [
        html.join([f"{probabilities[name]:.1%}", html.bar(probabilities[name])]) for name in names
    ]
