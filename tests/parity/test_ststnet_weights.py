"""The authors' own weights of STSTNet through our reader, network and metrics: what they score.

Needs PyTorch and two clones of the user's own: $MSER_STSTNET of christy1206/STSTNet (weights) and
$MSER_MEGC2019 of wangzhifengharrison/HTNet (images). Nothing of either is in this repository. The
figures are those that the authors' own code scores with these weights and images.
"""

# pyright: reportMissingImports=false

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from data_prep.datasets.megc2019.reader import CLASSES, Megc2019
from mser_jax.evaluate import metrics
from mser_jax.models import functional
from mser_jax.models.baselines.ststnet import STSTNet

pytestmark = pytest.mark.heavy
torch = pytest.importorskip("torch", reason="needs pip install torch")

WEIGHTS, IMAGES = (os.environ.get(name, "") for name in ("MSER_STSTNET", "MSER_MEGC2019"))
SLOTS = 40  # no subject has more clips
WANTED = {
    "all": (0.7209, 0.7250),
    "smic": (0.6871, None),
    "casme2": (0.8304, None),
    "samm": (0.5993, None),
}

needs_clones = pytest.mark.skipif(
    not (WEIGHTS and IMAGES), reason="MSER_STSTNET and MSER_MEGC2019 name no clones"
)


def weights(subject):
    """The parameters and statistics of the fold that left a subject out, as ours are laid."""
    file = Path(WEIGHTS) / "STSTNet_Weights" / f"{subject}.pth"
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    theirs = {name: np.asarray(value) for name, value in loaded.items()}
    params, stats = {}, {}
    for n in "123":
        kernel = theirs[f"conv{n}.weight"].transpose(2, 3, 1, 0)[None]
        bias = theirs[f"conv{n}.bias"].reshape(1, 1, 1, 1, -1)
        params[f"conv{n}"] = {"kernel": kernel, "bias": bias}
        params[f"bn{n}"] = {"scale": theirs[f"bn{n}.weight"], "bias": theirs[f"bn{n}.bias"]}
        moments = theirs[f"bn{n}.running_mean"], theirs[f"bn{n}.running_var"]
        stats[f"bn{n}"] = dict(zip(("mean", "var"), moments))
    params["fc"] = {"kernel": theirs["fc.weight"].T, "bias": theirs["fc.bias"][None]}
    return params, stats


@needs_clones
def test_the_authors_weights_score_what_they_score_elsewhere():
    network = functional(lambda rngs: STSTNet(3, rngs=rngs))
    answer = jax.jit(lambda params, stats, x: network.apply(params, stats, x, None, False)[0][:, 0])
    source = Megc2019(IMAGES)
    entries = source.entries()
    counts = {name: np.zeros((3, 3), int) for name in WANTED}
    for dataset, subject in sorted({(entry.dataset, entry.subject) for entry in entries}):
        own = [e for e in entries if (e.dataset, e.subject) == (dataset, subject)]
        images = np.zeros((SLOTS, 1, 28, 28, 3), np.float32)
        images[: len(own)] = [source.record(entry)["image"] for entry in own]
        logits = answer(*weights(subject), images[..., ::-1])  # BGR, as OpenCV gives it
        labels = np.array([CLASSES.index(entry.label) for entry in own])
        for name in ("all", dataset):
            answers = np.asarray(logits)[: len(own)].argmax(axis=1)
            counts[name] += metrics.confusion(labels, answers, 3)
    for name, (uf1, uar) in WANTED.items():
        scores = metrics.summary(counts[name])
        assert scores["uf1"] == pytest.approx(uf1, abs=5e-5), name
        assert uar is None or scores["uar"] == pytest.approx(uar, abs=5e-5), name
