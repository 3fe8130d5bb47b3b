"""The sentences of a movement's page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mser_jax.predict.answers import Answer
from mser_jax.predict.explain.gradcam import STAGES, Reason
from mser_jax.report import html
from mser_jax.report.html import Markup

ATTENTION = (
    "After its first convolution the network multiplies each time step by a weight between 0 and "
    "1, then each place. These are the weights for this movement."
)
BRANCHES = (
    "After blocks 2, 3 and 4 a multi-scale module (RC) sums branches with kernels of several "
    "sizes (time x height x width) and the average of the whole clip, each times a learned weight. "
    "A long chain is 1x1x7, 1x7x1, 7x1x1; a short chain 1x1x3, 1x3x1, 3x1x1. The weights are the "
    "network's and the same for every clip. The dashed line is where all are equal, as before the "
    "training."
)
_HEAD_STAGES = (
    "X5",
    "X5 with X4",
    "X4 with X3",
    "X3 with X2",
)  # what each head is on (section 3.3.3)
# With `model.fusion.cascade`, where every head sees every stage.
_HEAD_STAGES_CASCADED = ("X5", "X5 with X4", "head 2's map with X3", "head 3's map with X2")
_RULES = {
    "confidence": "it gives the highest probability to any class (rule 'confidence').",
    "train_loss": "it had the lowest loss on the clips of the training (rule 'train_loss').",
}
_CHANNELS = {
    "u": "movement to the right (u)",
    "v": "movement down (v)",
    "strain": "strain",
    "magnitude": "length of the movement",
}


def head_name(number: int, uses_stage: np.ndarray) -> str:
    """Name a head, counted from 0, and its stages (`gradcam.Reason.uses_stage`)."""
    if len(uses_stage) == 1:
        return "the only head, on X5"
    stages = _HEAD_STAGES_CASCADED if uses_stage.all() else _HEAD_STAGES
    return f"head {number + 1}, on {stages[number]}"


def magnification(alpha: float) -> str:
    """Say that the recipe magnified what the page shows."""
    return (
        f"The movement is magnified (Eulerian, alpha {alpha:g}) before the key frames are taken, "
        f"as in the training: what is seen here is up to {1 + alpha:g} times as large as it was."
    )


def why_this_head(answer: Answer, rule: str) -> str:
    """Say which head the answer comes from. For `rule` see `page.write`."""
    if len(answer.heads) == 1:
        return "The network has one head."
    if answer.head is None:
        return "The answer is the mean of the heads (rule 'mean')."
    reason = _RULES.get(rule)
    return f"Head {answer.head} answers{f': {reason}' if reason else '.'}"


def input_channels(channels: Sequence[str] | None) -> str:
    """Say which part of this the network sees. For `channels` see `page.write`."""
    if channels is None:
        return "How the face has moved at each time step."
    if not channels:
        return "This network sees the key frames themselves; the flow is shown for the reader."
    named = [_CHANNELS.get(name, name) for name in channels]
    return f"This is what the network sees, and no picture of the face: {', '.join(named)}."


def flow_colours(reach: float) -> str:
    """Explain the colours of a flow whose full colour is `reach` px."""
    return (
        "The colour is the direction in which the skin moves, as on the wheel from its centre; "
        f"white is rest, full colour {reach:.2f} px of the crop, and what moves farther is darker."
    )


def gradcam_grid(has_apex: bool, faces: bool) -> str:
    """Explain the grid of maps."""
    over = (
        f"the key frame {'of the apex' if has_apex else 'in the middle'}" if faces else "plain grey"
    )
    return (
        "Grad-CAM: the places of a stage's map whose features speak for this class in a head. Over "
        f"time the largest value is taken. Rows are heads, columns stages; drawn over {over}."
    )


def gradcam_over_time(head: int, is_mean: bool, stride: int) -> str:
    """Explain the strip of maps over time."""
    head_text = (
        f"head {head}, the surest of the class," if is_mean else f"head {head}, which answers,"
    )
    steps = "every time step" if stride == 1 else f"one of {stride} time steps"
    return f"Grad-CAM of {head_text} at X2, the finest stage, which has an entry for {steps}."


def how_to_read(reason: Reason) -> Markup:
    """Explain what the maps show and what they cannot show."""
    steps, side, _ = reason.cams.shape[2:]
    sizes = "; ".join(
        f"{name} has {t} x {h} x {w}" for name, (t, h, w) in zip(STAGES, reason.sizes)
    )
    paragraphs = (
        f"The maps are coarse. Of {steps} time steps x {side} x {side} pixels {sizes}; what is "
        "drawn between these entries is interpolated. Each map is stretched to its own maximum, so "
        "that its brightness says nothing about that of another. What speaks against the class is "
        "left out: dark is not the same as unused.",
        "They show where this network found what speaks for its answer, right or wrong. They do "
        "not show why a person moved, or what a person felt.",
        "A convincing map is no evidence that a network has learned anything. Adebayo et al. "
        "(2018) found methods whose maps stay alike when the weights are replaced by random ones. "
        "Ours change, and a test of this program holds them to it; that is the least to be asked, "
        "and does not make a map right.",
        "Attention is what the network multiplies by, not an explanation by itself: later layers "
        "may undo it, and other weights can give the same answer. The weight of a branch is not "
        "its share in the result, as each branch but the average is scaled by a normalisation of "
        "its own.",
    )
    sources = (
        "Selvaraju et al., Grad-CAM, ICCV 2017. Adebayo et al., Sanity checks for saliency maps, "
        "NeurIPS 2018. Jain and Wallace, Attention is not explanation, NAACL 2019."
    )
    return html.section(
        "How to read this, and what it cannot tell",
        *(html.tag("p", paragraph) for paragraph in paragraphs),
        html.tag("p", sources, class_="small"),
    )
