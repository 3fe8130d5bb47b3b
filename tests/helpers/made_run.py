"""A run's folder with a final training, of weights nobody trained: what an export starts from."""

import json
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from data_prep.stages import identity
from mser_jax.config import defaults, networks
from mser_jax.evaluate import predictions, predictions_csv
from mser_jax.models.network import count_parameters
from mser_jax.storage import weights
from mser_jax.train import final

CLASSES = ("negative", "positive", "surprise")
DIGEST = "0123456789abcdef"


def small(kind: str = "flow") -> ConfigDict:
    """The smoke preset, smaller still."""
    config = ConfigDict(defaults.get_config("synthetic", "smoke").to_dict())
    config.update_from_flattened_dict(
        {
            "input.kind": kind,
            "prep.size": 32,
            "prep.steps": 4,
            "prep.flow.warps": 1,
            "prep.flow.iterations": 3,
            "model.width": 4,
            "model.head.hidden": 8,
        }
    )
    return config


def write(folder: Path, config: ConfigDict, *, held_out: bool = True, seed: int = 0) -> Path:
    """A run in `folder`, with or without the predictions of its folds."""
    home = folder / final.FOLDER
    home.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    network = networks.network(config, len(CLASSES))
    params, stats = jax.jit(network.init)(jax.random.key(seed))  # eager, it takes a minute
    weights.save(home / final.WEIGHTS_FILE, params, stats)
    facts = {
        "class_names": CLASSES,
        "clips": 12,
        "subjects": 4,
        "per_class": dict.fromkeys(CLASSES, 4),
        "per_dataset": {"synthetic": 12},
        "digest": DIGEST,
        "seed": 0,
        "epochs": 3,
        "parameters": count_parameters(params),
        "train_loss": [0.4, 0.2, 0.3, 0.5],
        "command": "python -m mser_jax.main --config=configs/synthetic.py --mode=final",
        "date": "2026-11-28 12:00 UTC",
        "versions": {"jax": "0.10.2", "mser_jax": "0.1.0"},
        "fingerprint": identity.portable_fingerprint(config.prep.to_dict()),
    }
    (home / final.FACTS_FILE).write_text(json.dumps(facts))
    seen = {"event": "data", "clips": 12, "digest": DIGEST}
    (folder / "log.jsonl").write_text(json.dumps(seen) + "\n")
    if held_out:
        predictions_csv.write_csv(folder / "predictions.csv", _predictions(seed), "confidence")
    return folder


def _predictions(seed: int) -> predictions.Predictions:
    """Of 12 clips of 4 people, by four heads; as many are wrong, and all too sure."""
    random = np.random.default_rng(seed)
    label, people = np.arange(12) % 3, np.array([f"s{at // 3}" for at in range(12)])
    logits = 6 * random.normal(size=(12, 4, 3)) + np.eye(3)[label][:, None]
    probabilities = np.array(jax.nn.softmax(logits))
    return predictions.Predictions(
        dataset=np.array(["synthetic"] * 12),
        subject=people,
        clip=np.array([f"{at % 3:02d}" for at in range(12)]),
        seed=np.zeros(12, int),
        fold=np.array([f"synthetic/{name}" for name in people]),
        label=label,
        probabilities=probabilities,
        train_loss=np.full((12, 4), 0.5, np.float32),
        class_names=CLASSES,
    )
