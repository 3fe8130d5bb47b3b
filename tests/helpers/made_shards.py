"""Records of noise, the set of shards written from them, and a process of its own to read it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from data_prep.shards import dataset as shards

RECIPE = {"size": 18, "steps": 2, "stages": ("face", "keyframes"), "flow": {"warps": 5, "bands": 1}}
SIDE = 18 + 2 * 2

DESCRIPTION = {
    "counts": {"written": 3, "noted": 1, "dropped": 2, "quarantined": 1},
    "release": {"sheet": "labels.xlsx", "clips": {"calm": 3}, "stated": {}},
    "repairs": [
        {"clip": f"noise/s1/{clip}", "field": field, "was": "", "now": now, "reason": reason}
        for clip, field, now, reason in (
            ("8", "row", "left out", "emotion 'fear'"),
            ("9", "row", "left out", "emotion 'fear'"),
            ("5", "apex", "7", "no apex is marked"),
        )
    ],
    "quarantined": {"noise/s1/7": "no face"},
}


def made(number: int) -> dict:
    rng = np.random.default_rng(number)
    return {
        "flow": rng.standard_normal((2, SIDE, SIDE, 2)).astype(np.float16),
        "frames": rng.integers(0, 256, (3, SIDE, SIDE, 1), np.uint8),
        "positions": np.array([0.0, 7.25, 9.0], np.float32),
        "label": number % 2,
        "emotion": "Überraschung",
        "subject": "006",
        "clip_id": f"EP{number} é",
        "dataset": "noise",
        "onset": 0,
        "apex": -1,
        "offset": 10**10 + number,
        "apex_index": -1,
        "apex_estimated": 0,
        "first": 46,
        "fps": 99.875,
        "notes": "One line.\nAnother.",
    }


def run(script: str, argument: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])}
    command = [sys.executable, "-c", script, str(argument)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def write(folder, records, name="noise", recipe=RECIPE, description=DESCRIPTION):
    return shards.write(
        records,
        data_dir=folder,
        name=name,
        fingerprint="0123abcd-4567cdef",
        recipe=recipe,
        class_names=("calm", "wild"),
        describe=lambda: description,
    )
