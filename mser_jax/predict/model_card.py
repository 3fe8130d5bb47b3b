"""The card of a trained model: what it is, how well it does, and what it must not be used for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mser_jax.report import wording

_SCORES = {"accuracy": "accuracy", "uf1": "UF1", "uar": "UAR"}


def card(description: Mapping[str, Any]) -> str:
    """Write the model card as Markdown.

    Args:
      description: Content of model.json.
    """
    return "\n\n".join(part for part in _parts(description) if part) + "\n"


def _parts(description: Mapping[str, Any]) -> Iterator[str]:
    training, config = description["training"], description["config"]
    yield f"# {description['name']}: micro-expressions in {len(description['class_names'])} classes"
    yield f"> **{wording.WARNING}**"
    if config["data"]["dataset"] == "synthetic":
        yield f"> It was trained on synthetic clips. {wording.SYNTHETIC}"
    yield (
        f"A network of mser_jax {description['version']} ({training['parameters']:,} parameters), "
        f"trained on {wording.pluralize(training['clips'], 'clip')} of "
        f"{wording.pluralize(training['subjects'], 'subject')} for "
        f"{wording.pluralize(training['epochs'], 'epoch')} from seed {training['seed']}, "
        f"{training['date']}."
    )
    yield _table(["class", "clips of the training"], training["per_class"].items())
    yield _table(["database", "clips"], training["per_dataset"].items())
    yield "## What it is worth"
    yield from _results(description)
    yield "## Confidence"
    yield _confidence(description["calibration"])
    yield "## What it is for, and what it is not"
    yield _USE
    yield "## Use"
    yield _commands(config["input"]["kind"], description["pixels"])
    yield "## How its clips are prepared"
    yield _recipe(description)
    yield "## How it was made"
    yield f"```\n{training['command']}\n```"
    yield _table(["package", "version"], training["versions"].items())


def _results(description: Mapping[str, Any]) -> Iterator[str]:
    figures, config = description["figures"], description["config"]
    if figures is None:
        yield "**Not measured**: the run has no held-out predictions."
        return
    yield wording.protocol(config, figures["folds"])
    yield (
        "These are figures of the networks of the folds, each trained like this one without the "
        "people it was tested on. This network was trained on all clips, and nothing is left to "
        "test it on. The intervals are bootstraps over subjects, 95 %."
    )
    rows: list[list[object]] = [["all", figures["clips"], *_scores_with_intervals(figures)]]
    if len(figures["per_dataset"]) > 1:
        rows += [
            [row["dataset"], row["clips"], *_scores_with_intervals(row)]
            for row in figures["per_dataset"]
        ]
    rows.append(
        [
            f"always {figures['majority']['class']}",
            figures["clips"],
            *_scores_without_intervals(figures["majority"]),
        ]
    )
    rows.append(["chance", figures["clips"], *_scores_without_intervals(figures["chance"])])
    yield _table(["", "clips", *_SCORES.values()], rows)
    if figures["tested"] != figures["clips"]:
        yield f"{figures['tested'] - figures['clips']} clips have no answer: their fold diverged."
    yield _table(
        ["true \\ answer", *figures["class_names"]],
        [[name, *counts] for name, counts in zip(figures["class_names"], figures["confusion"])],
    )


def _scores_with_intervals(row: Mapping[str, Any]) -> list[str]:
    cells = []
    for name in _SCORES:
        bounds = row["interval"].get(name)
        interval = f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""
        cells.append(wording.number(row[name]) + interval)
    return cells


def _scores_without_intervals(row: Mapping[str, Any]) -> list[str]:
    return [wording.number(row[name]) for name in _SCORES]


def _confidence(calibration: Mapping[str, Any] | None) -> str:
    if calibration is None:
        return (
            "Not calibrated, for want of held-out predictions: the probabilities are as the "
            "network gives them, and networks are mostly too sure."
        )
    before, after = calibration["before"], calibration["after"]
    tried = (
        "It could not be tried on people that it was not fitted on."
        if after is None
        else "On people that it was not fitted on the expected calibration error is "
        f"{after['ece']:.3f} (before: {before['ece']:.3f}), the negative log-likelihood "
        f"{after['nll']:.3f} (before: {before['nll']:.3f})."
    )
    return (
        f"A temperature of {calibration['temperature']:.3f}, fitted on the held-out predictions of "
        f"the folds (Guo et al., 2017). {tried} It says how often such answers are right on clips "
        "like those of the training; on another camera, other people or other occasions it says "
        "less."
    )


_USE = (
    "For research on the method: to compare networks, to look at what they look at, to find "
    "movements in videos of people who have agreed to it. Not for hiring, teaching, policing, "
    "border control, credit, health or any other decision about a person, and not for watching "
    "people who do not know of it. A facial movement has many causes; the class of a clip is the "
    "word of the people who annotated a database.\n\n"
    "The databases are under signed agreements of their owners, which may cover what is derived "
    "from them, such as these weights: ask before passing them on. Faces of new videos are found "
    "by dlib's 68-point model, whose training data exclude commercial use."
)


def _commands(kind: str, pixels: Sequence[int]) -> str:
    shape = ", ".join(map(str, pixels))
    program = (
        "Without mser_jax, by jax alone (and flatbuffers):\n\n"
        "```python\n"
        "from pathlib import Path\n"
        "import jax\n\n"
        'program = jax.export.deserialize(bytearray(Path("program.stablehlo").read_bytes()))\n'
        "probabilities, heads, head = program.call(pixels)\n"
        "```\n\n"
        f"`pixels` is float32 `[clips, {shape}]`: {_PIXELS[kind]}. `probabilities` are those of "
        "the answer, `heads` those of each head, `head` which one answered (-1: their mean)."
    )
    if kind == "images":
        return program
    return (
        "```\npython -m mser_jax.predict MODEL video.mp4\n```\n\n"
        '```python\nfrom mser_jax import load\n\nmodel = load("MODEL")\n'
        "found = model.predict(frames, fps)\n```\n\n" + program
    )


_PIXELS = {
    "flow": "the optical flow (u right, v down) in px from the onset to each key frame, the margin "
    "included",
    "frames": "the grey key frames after the first, 0..255, the margin included",
    "images": "images of flow (u, v, strain), 0..255",
}


def _recipe(description: Mapping[str, Any]) -> str:
    prints = description["fingerprint"]
    stages = ", ".join(f"{name} {number}" for name, number in prints["stages"].items())
    own = (
        " The training aligned faces by a 68-point model of its own, and not by the one that this "
        "program takes: crops may differ a little."
        if description["own_predictor"]
        else ""
    )
    recipe = json.dumps(description["config"]["prep"], indent=2)
    return (
        f"Fingerprint `{prints['recipe']}` (versions of the code: {stages}). A program that "
        f"prepares clips otherwise refuses this model.{own}\n\n```json\n{recipe}\n```"
    )


def _table(header: Sequence[str], rows: Any) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
