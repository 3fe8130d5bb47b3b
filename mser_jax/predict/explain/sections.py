"""The sections of a movement's page: key frames, flow, and where the network looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_prep.preview import flow_colour
from mser_jax.predict.explain import pictures as reason_pictures
from mser_jax.predict.explain import words
from mser_jax.predict.explain.gradcam import STAGES, Reason
from mser_jax.predict.explain.shown import ReasonView
from mser_jax.report import html
from mser_jax.report.html import Markup

_MIN_REACH = 0.1  # px of the full colour: else the noise of a clip at rest would glow
_MIN_STRAIN = 0.01
_MIN_PICTURE_WIDTH = "5rem"  # the least width of a picture in a strip
_GAP = "0.5rem"


def key_frames(view: ReasonView) -> Iterator[Markup]:
    """Show the key frames from onset to offset, unless faces must not be shown."""
    if not view.faces:
        return
    frames = range(len(view.record["frames"]))
    figures = [
        _figure(view.face(index), f"Key frame {index}", view.time_label(index)) for index in frames
    ]
    yield html.section("Key frames", _strip(figures, 9))


def flow_and_strain(view: ReasonView, channels: Sequence[str] | None, alpha: float) -> Markup:
    """Show the flow in colour and its strain at each time step.

    `alpha` is the magnification.
    """
    reach = max(float(np.quantile(np.hypot(*np.moveaxis(view.flow, -1, 0)), 0.99)), _MIN_REACH)
    strains = [flow_colour.strain(flow) for flow in view.flow]
    largest = max(float(np.quantile(strains, 0.995)), _MIN_STRAIN)
    wheel = html.image(reason_pictures.png(flow_colour.legend(160)), "Wheel of directions")
    flow_note = words.flow_colours(reach)
    return html.section(
        "Flow and strain",
        html.tag("p", words.input_channels(channels)),
        *([html.tag("p", words.magnification(alpha))] if alpha else []),
        html.tag("div", wheel, html.tag("p", flow_note, class_="small"), class_="legend"),
        _strip(
            [
                _figure(
                    flow_colour.colours(flow, reach),
                    f"Flow at step {step}",
                    view.time_label(step),
                )
                for step, flow in enumerate(view.flow, 1)
            ],
            8,
        ),
        html.tag("h3", "Strain", style="margin-top:1.4rem"),
        _colour_bar(
            "strain", "0", f"{largest:.3f} and more: how much the skin is stretched or sheared"
        ),
        _strip(
            [
                _figure(
                    reason_pictures.strain(s, largest),
                    f"Strain at step {step}",
                    view.time_label(step),
                )
                for step, s in enumerate(strains, 1)
            ],
            8,
        ),
    )


def gradcam_grid(view: ReasonView) -> Markup:
    """Show Grad-CAM of each head at each stage, maximum over time."""
    face, heads = view.face(view.background_frame), len(view.reason.cams)
    parts = []
    for head in range(heads):
        parts.append(
            html.tag("h3", words.head_name(head, view.reason.uses_stage), style="margin-top:1rem")
        )
        parts.append(
            _strip([_cam_figure(view, face, head, stage) for stage in range(len(STAGES))], 4)
        )
    return html.section(
        f"Where the network looked for {view.class_name}",
        html.tag("p", words.gradcam_grid(view.apex is not None, view.faces)),
        _colour_bar("heat", "nothing", "each map's own maximum"),
        html.tag("div", *parts, style="max-width:42rem"),
    )


def _cam_figure(view: ReasonView, face: np.ndarray, head: int, stage: int) -> Markup:
    reason = view.reason
    largest = reason.cams[head, stage].max(axis=0)
    caption = f"{STAGES[stage]}"
    if not reason.uses_stage[head, stage]:
        caption += ": the head does not see this stage"
        face = np.full_like(face, 236)
    elif not largest.any():
        caption += ": nothing here speaks for the class"
    alt = f"Grad-CAM of head {head + 1} at {STAGES[stage]}"
    return _figure(reason_pictures.overlay_heat(face, largest), alt, caption)


def gradcam_over_time(view: ReasonView) -> Markup:
    """Show the answering head's Grad-CAM at X2, for each step of the stage."""
    cams = view.reason.cams[view.head, 0]
    stride = -(-len(cams) // view.reason.sizes[0][0])
    figures = [
        _figure(
            reason_pictures.overlay_heat(view.face(step + 1), cams[step]),
            f"Grad-CAM at step {step + 1}",
            view.time_label(step + 1),
        )
        for step in range(0, len(cams), stride)
    ]
    note = words.gradcam_over_time(view.head + 1, view.answer.head is None, stride)
    return html.section("When it looked there", html.tag("p", note), _strip(figures, 8))


def attention(view: ReasonView) -> Markup:
    """Show the attention over the time steps and over the face."""
    time, space = view.reason.time_weights, view.reason.space_weights
    if time is None or space is None:
        return html.section("Attention", html.tag("p", "This network has no attention."))
    apex = None if view.apex in (None, 0) else view.apex - 1
    chart = html.image(reason_pictures.attention_chart(time, apex), "Attention over the time steps")
    face = reason_pictures.overlay_weights(view.face(view.background_frame), space)
    return html.section(
        "Attention",
        html.tag("p", words.ATTENTION),
        html.tag(
            "div",
            html.tag("figure", chart),
            html.tag(
                "figure",
                html.tag("h3", "attention over the face", style="margin-bottom:.5rem"),
                html.image(reason_pictures.png(face), "Attention over the face"),
                _colour_bar("weights", f"{space.min():.3f}", f"{space.max():.3f}"),
                style="max-width:16rem",
            ),
            class_="figures",
        ),
    )


def branches(reason: Reason) -> Markup:
    """Show the branch weights of each RC module."""
    if not reason.branches:
        return html.section("Branches", html.tag("p", "This network has no RC modules."))
    charts = [
        html.image(
            reason_pictures.branch_chart(name, weights), f"Weights of the branches of {name}"
        )
        for name, weights in reason.branches.items()
    ]
    return html.section(
        "Branches",
        html.tag("p", words.BRANCHES),
        html.tag("div", *(html.tag("figure", chart) for chart in charts), class_="figures"),
    )


def _figure(image: np.ndarray, alt: str, caption: str) -> Markup:
    picture = html.image(reason_pictures.png(image), alt)
    return html.tag("figure", picture, html.tag("figcaption", caption, style="font-size:.8rem"))


def _strip(figures: Sequence[Markup], max_columns: int) -> Markup:
    """Arrange pictures in rows of at most `max_columns`, fewer on a narrow page."""
    width = f"max({_MIN_PICTURE_WIDTH}, (100% - {max_columns - 1} * {_GAP}) / {max_columns})"
    columns = f"grid-template-columns:repeat(auto-fill, minmax({width}, 1fr))"
    return html.tag("div", *figures, style=f"display:grid;gap:{_GAP};{columns};margin:.6rem 0")


def _colour_bar(name: str, low: str, high: str) -> Markup:
    """Show a colour bar with the meaning of its ends."""
    bar = html.tag(
        "span",
        html.image(reason_pictures.colour_bar(name), "Scale of colours"),
        style="display:inline-block;width:7rem;margin:0 .5rem;vertical-align:middle",
    )
    return html.tag("p", low, bar, high, class_="small")
