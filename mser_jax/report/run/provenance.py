"""The sections of a run's page on its origin: clips, time, and how to run it again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from data_prep.common.fields import flatten
from mser_jax.report import html
from mser_jax.report.html import Markup
from mser_jax.report.wording import NOT_RECORDED
from mser_jax.storage import history


def clips(scores: Mapping, events: list[dict]) -> Markup:
    """Show which clips were prepared and which of them were tested."""
    data = history.last(events, "data")
    about = (*_release(data.get("release", {})), *_repair_table(data.get("repaired", {})))
    return html.section("Clips", *about, _clip_counts(scores, data))


def _clip_counts(scores: Mapping, data: Mapping) -> Markup:
    dropped = data.get("dropped")
    if dropped is None:
        return html.tag("p", f"Whether clips were dropped was {NOT_RECORDED}.")
    left_out = {
        **{f"dropped: {reason}": clips for reason, clips in dropped.items()},
        "trained on and not tested": data.get("clips", scores["tested"]) - scores["tested"],
        "without an answer: the fold failed": scores["tested"] - scores["clips"],
    }
    rows = [(reason, clips) for reason, clips in left_out.items() if clips]
    if not rows:
        return html.tag("p", f"No clip was dropped; {scores['clips']} were evaluated.")
    return html.table(["", "clips"], [*rows, ("evaluated", scores["clips"])], len(rows))


def _release(release: Mapping) -> Iterator[Markup]:
    """Describe the release of a database, and its class counts beside the stated ones."""
    facts = [(name, value) for name, value in release.items() if isinstance(value, str)]
    if facts:
        yield html.definition_list(facts)
    stated = release.get("stated")
    if stated:
        counts = release["clips"]
        rows = [(name, counts.get(name, 0), count) for name, count in stated.items()]
        yield html.table(["class", "clips", "stated"], rows)


def _repair_table(repairs: Mapping) -> Iterator[Markup]:
    if repairs:
        yield html.table(["repaired in the annotation", "values"], repairs.items())


def stage_times(events: list[dict]) -> Markup:
    """Show how long each stage took."""
    stages = history.stages(events)
    if not stages:
        return html.section("Time", html.tag("p", f"The stages were {NOT_RECORDED}."))
    total = max(sum(stage["seconds"] for stage in stages), 1e-9)
    rows = [
        [
            stage["name"],
            f"{stage['seconds']:.1f}",
            "reused" if stage["reused"] else "",
            html.bar(stage["seconds"] / total),
        ]
        for stage in stages
    ]
    return html.section("Time", html.table(["stage", "seconds", "", ""], rows))


def _without_mode(command: str) -> str:
    """Remove --mode from a command: the whole run includes each of its parts."""
    return re.sub(r" --?mode[= ]\S+", "", command)


def rerun_section(config: Mapping, events: list[dict]) -> Markup:
    """Show the command, its versions and devices, and every configuration field."""
    start = history.start_event(events)
    dataset = config["data"]["dataset"]
    default = f"python -m mser_jax.main --config=configs/{dataset}.py:{config['preset']}"
    versions = start.get("versions", {})
    rows = [*versions.items(), ("devices", ", ".join(start.get("devices", [NOT_RECORDED])))]
    fields = [(name, json.dumps(value)) for name, value in flatten(config).items()]
    return html.section(
        "How to run it again",
        html.command(_without_mode(start.get("command", default))),
        html.definition_list(rows),
        html.tag(
            "details",
            html.tag("summary", f"The full configuration ({len(fields)} fields)"),
            html.tag("div", html.table(["field", "value"], fields), class_="config"),
        ),
    )
