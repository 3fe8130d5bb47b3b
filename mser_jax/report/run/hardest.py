"""The section of a run's page on the clips with the most confident wrong answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mser_jax.evaluate import hardest
from mser_jax.evaluate.hardest import FACES, FLOW, FOLDER, IMAGE, Pictures
from mser_jax.report import html
from mser_jax.report.html import Markup
from mser_jax.report.wording import pluralize

_SHOWN = {
    FACES: "From the left: the first key frame; that of the apex (the middle one where none is "
    "known); the flow that ends there.",
    FLOW: "The flow that ends at the apex (at the middle key frame where none is known), without "
    "the face.",
    IMAGE: "From the left: the channels u, v and strain of the clip's image.",
}
_ALT = {
    FACES: "First key frame, apex and flow",
    FLOW: "Flow at the apex",
    IMAGE: "Channels u, v and strain",
}
_COLOURS = (
    "Colours of the flow: its direction, as on the wheel from its centre; white is rest, and full "
    "colour the strongest movement of that clip."
)
_FACES_HERE = (
    f"The pictures are files in {FOLDER}/ beside this page, and not in it: passed on alone, the "
    "page shows no face. The agreements of the databases forbid to publish most faces; whoever "
    "passes that folder on is responsible for it. The same command with ",
    html.tag("code", "--mode=report"),
    " ",
    html.tag("code", "--config.report.faces=False"),
    " removes the faces and leaves the flow.",
)


def hardest_clips(scores: Mapping, pictures: Pictures) -> Markup:
    """Show the most confident wrong answers, with pictures if there are any.

    Args:
      scores: Scores as returned by `scoring.score`.
      pictures: Pictures of these clips.
    """
    rows, wrong = scores["hardest"]["clips"], scores["hardest"]["wrong"]
    if not rows:
        return html.section("Hardest clips", html.tag("p", "No clip was answered wrongly."))
    seeds = len(scores["seeds"])
    means = f" Probabilities are means over {seeds} seeds." if seeds > 1 else ""
    note = (
        f"Of {pluralize(wrong, 'clip')} that {'was' if wrong == 1 else 'were'} answered wrongly, "
        f"the {len(rows)} whose true class got the least probability.{means}"
    )
    one = len(scores["per_dataset"]) == 1
    cards = [
        _card(place, row, name, pictures, one)
        for place, (row, name) in enumerate(zip(rows, hardest.clip_names(rows)), 1)
    ]
    return html.section(
        "Hardest clips",
        html.tag("p", note),
        *_picture_notes(pictures),
        html.tag("div", *cards, class_=f"clips {pictures.kind}"),
    )


def _picture_notes(pictures: Pictures) -> Iterator[Markup]:
    if pictures.files:
        yield html.tag("p", _SHOWN[pictures.kind], class_="small")
    if pictures.files and pictures.legend:
        wheel = html.image(pictures.legend, "Wheel of the directions and their colours")
        yield html.tag("div", wheel, html.tag("p", _COLOURS, class_="small"), class_="legend")
    if pictures.files and pictures.kind == FACES:
        yield html.tag("p", *_FACES_HERE, class_="note")
    if pictures.missing_reason:
        some = "Some pictures are missing" if pictures.files else "Pictures are missing"
        yield html.tag("p", f"{some}. {pictures.missing_reason}", class_="note")


def _card(rank: int, row: Mapping, name: str, pictures: Pictures, single_dataset: bool) -> Markup:
    called = f"{row['subject']}/{row['clip']}" if single_dataset else name
    parts = []
    if file := pictures.files.get(name):
        alt = f"{_ALT[pictures.kind]} of {called}: in {FOLDER}/, which is not beside this page."
        parts.append(html.linked_image(f"{FOLDER}/{file}", alt))
    caption = [
        html.tag("strong", f"{rank}. {called}"),
        html.tag("span", f"true: {row['true']}, {row['p_true']:.1%}"),
        html.tag("span", f"answer: {row['answer']}, {row['p_answer']:.1%}"),
    ]
    return html.tag("figure", *parts, html.tag("figcaption", *caption))
