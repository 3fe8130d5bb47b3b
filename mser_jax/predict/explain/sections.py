"""What a movement's page shows: key frames, flow, and what the network looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_prep.preview import flow_colour
from mser_jax.predict.explain import pictures as reason_pictures
from mser_jax.predict.explain import words
from mser_jax.predict.explain.gradcam import STAGES, Reason
from mser_jax.predict.explain.shown import Shown
from mser_jax.report import html
from mser_jax.report.html import Markup

_LEAST_REACH = 0.1  # px of the full colour: else the noise of a clip at rest would glow
_LEAST_STRAIN = 0.01
_NARROW = "5rem"  # the least width of a picture in a strip
_GAP = "0.5rem"


def key_frames(shown: Shown) -> Iterator[Markup]:
    """The key frames from onset to offset; nothing where no face may be shown."""
    if not shown.faces:
        return
    frames = range(len(shown.record["frames"]))
    figures = [_figure(shown.face(at), f"Key frame {at}", shown.when(at)) for at in frames]
    yield html.section("Key frames", _strip(figures, 9))


def movement(shown: Shown, channels: Sequence[str] | None, alpha: float) -> Markup:
    """The flow in colour and its strain, at each time step; `alpha` of the magnification."""
    reach = max(float(np.quantile(np.hypot(*np.moveaxis(shown.flow, -1, 0)), 0.99)), _LEAST_REACH)
    strains = [flow_colour.strain(flow) for flow in shown.flow]
    largest = max(float(np.quantile(strains, 0.995)), _LEAST_STRAIN)
    wheel = html.image(reason_pictures.png(flow_colour.legend(160)), "Wheel of directions")
    told = words.flow_colours(reach)
    return html.section(
        "Flow and strain",
        html.tag("p", words.seen_channels(channels)),
        *([html.tag("p", words.magnified(alpha))] if alpha else []),
        html.tag("div", wheel, html.tag("p", told, class_="small"), class_="legend"),
        _strip(
            [
                _figure(flow_colour.colours(flow, reach), f"Flow at step {at}", shown.when(at))
                for at, flow in enumerate(shown.flow, 1)
            ],
            8,
        ),
        html.tag("h3", "Strain", style="margin-top:1.4rem"),
        _scale("strain", "0", f"{largest:.3f} and more: how much the skin is stretched or sheared"),
        _strip(
            [
                _figure(reason_pictures.strain(s, largest), f"Strain at step {at}", shown.when(at))
                for at, s in enumerate(strains, 1)
            ],
            8,
        ),
    )


def looked(shown: Shown) -> Markup:
    """Grad-CAM of each head at each stage, the largest over time."""
    face, heads = shown.face(shown.background), len(shown.reason.cams)
    parts = []
    for head in range(heads):
        parts.append(
            html.tag("h3", words.head_name(head, shown.reason.sees), style="margin-top:1rem")
        )
        parts.append(_strip([_cam(shown, face, head, stage) for stage in range(len(STAGES))], 4))
    return html.section(
        f"Where the network looked for {shown.class_name}",
        html.tag("p", words.grid(shown.apex is not None, shown.faces)),
        _scale("heat", "nothing", "each map's own maximum"),
        html.tag("div", *parts, style="max-width:42rem"),
    )


def _cam(shown: Shown, face: np.ndarray, head: int, stage: int) -> Markup:
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


def over_time(shown: Shown) -> Markup:
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
    told = words.over_time(shown.head + 1, shown.answer.head is None, every)
    return html.section("When it looked there", html.tag("p", told), _strip(figures, 8))


def attention(shown: Shown) -> Markup:
    """The attention over the time steps and over the face."""
    time, space = shown.reason.time_weights, shown.reason.space_weights
    if time is None or space is None:
        return html.section("Attention", html.tag("p", "This network has no attention."))
    apex = None if shown.apex in (None, 0) else shown.apex - 1
    chart = html.image(reason_pictures.over_time(time, apex), "Attention over the time steps")
    face = reason_pictures.weights_over(shown.face(shown.background), space)
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
                _scale("weights", f"{space.min():.3f}", f"{space.max():.3f}"),
                style="max-width:16rem",
            ),
            class_="figures",
        ),
    )


def branches(reason: Reason) -> Markup:
    """The weights of the branches of each RC module."""
    if not reason.branches:
        return html.section("Branches", html.tag("p", "This network has no RC modules."))
    charts = [
        html.image(reason_pictures.branches(name, weighed), f"Weights of the branches of {name}")
        for name, weighed in reason.branches.items()
    ]
    return html.section(
        "Branches",
        html.tag("p", words.BRANCHES),
        html.tag("div", *(html.tag("figure", chart) for chart in charts), class_="figures"),
    )


def _figure(image: np.ndarray, alt: str, told: str) -> Markup:
    picture = html.image(reason_pictures.png(image), alt)
    return html.tag("figure", picture, html.tag("figcaption", told, style="font-size:.8rem"))


def _strip(figures: Sequence[Markup], most: int) -> Markup:
    """Pictures in rows of at most so many, fewer where the page is narrow."""
    width = f"max({_NARROW}, (100% - {most - 1} * {_GAP}) / {most})"
    columns = f"grid-template-columns:repeat(auto-fill, minmax({width}, 1fr))"
    return html.tag("div", *figures, style=f"display:grid;gap:{_GAP};{columns};margin:.6rem 0")


def _scale(name: str, low: str, high: str) -> Markup:
    """A bar of colours between what its ends mean."""
    bar = html.tag(
        "span",
        html.image(reason_pictures.scale(name), "Scale of colours"),
        style="display:inline-block;width:7rem;margin:0 .5rem;vertical-align:middle",
    )
    return html.tag("p", low, bar, high, class_="small")
