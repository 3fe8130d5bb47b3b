"""What a report is made of, of a run that never was: its events, configuration and predictions."""

import numpy as np

from mser_jax.evaluate.predictions import Predictions

NAMES = ("negative", "positive", "surprise", "<other & more>")
PNG = b"\x89PNG\r\n\x1a\n"


def made(heads=4):
    random = np.random.default_rng(2)
    rows = 32
    label = np.arange(rows) % 4
    weight = random.random((rows, heads, 4)) + 0.6 * np.eye(4)[label][:, None]
    probabilities = weight / weight.sum(axis=-1, keepdims=True)
    subject = np.array([f"s{row // 8 + 1:02d}" for row in range(rows)])
    return Predictions(
        dataset=np.full(rows, "synthetic"),
        subject=subject,
        clip=np.array([f"c{row % 8}" for row in range(rows)]),
        seed=np.zeros(rows, int),
        fold=subject,
        label=label,
        probabilities=probabilities.astype(np.float32),
        train_loss=random.random((rows, heads)).astype(np.float32),
        class_names=NAMES,
    )


def config(dataset="synthetic", **evaluation):
    return {
        "name": "a <b>run</b>",
        "preset": "smoke",
        "seed": 0,
        "data": {"dataset": dataset},
        "prep": {"size": 56, "steps": 8},
        "augment": {"mode": "sample"},
        "model": {"block": "bottleneck", "width": 8, "depths": [1, 1, 1, 1]},
        "train": {"learning_rate": 2e-3, "epochs": 2, "batch_size": 8},
        "evaluation": {"protocol": "loso", "select": "confidence"} | evaluation,
    }


def epoch(number, loss):
    return {
        "event": "epoch",
        "epoch": number,
        "loss": loss,
        "accuracy": 0.5,
        "fold_loss": [loss, loss + 1],
    }


EVENTS = [
    {
        "event": "start",
        "mode": "all",
        "command": "python -m mser_jax.main --config=configs/synthetic.py",
        "date": "2026-11-22",
        "versions": {"jax": "0.10.2"},
        "devices": ["cpu:0"],
    },
    {
        "event": "data",
        "dropped": {"no face found": 3},
        "repaired": {"apex: no apex is marked": 23},
        "release": {"sheet": "codes.xlsx", "clips": {"joy": 5}, "stated": {"joy": 17}},
    },
    {"event": "train", "updates_per_epoch": 7, "parameters": 1234},
    {"event": "stage", "name": "train", "seconds": 12.5, "reused": False},
    epoch(1, 3.25),
    epoch(2, 2.125),
]
