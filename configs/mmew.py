"""MMEW: 300 clips in four classes, filmed at 90 fps.

    python -m data_prep --config=configs/mmew.py --check --config.data.manual_dir=/path/to/MMEW
    python -m mser_jax.main --config=configs/mmew.py --config.data.manual_dir=/path/to/MMEW

(configs/mmew.py:smoke for a small run; --config.data.classes=megc2019 for three classes,
emotion for the sheet's seven.)

Needs your own copy, which the group of Xianye Ben, Shandong University, China, hands out under a
signed agreement (the layout: data_prep/datasets/mmew/README.md), and the extra `landmarks`, which
finds the faces: pip install '.[landmarks]'

How long: the preparation about 5 min on one CPU core (1.0 s a clip, extrapolated from synthetic
clips of 2 megapixels).
Training: not measured; the full size (preset paper) is for GPUs, preset smoke runs on a CPU.

Published, not computed here: accuracy 92.9 %, F1 0.917 (FaceSleuth, arXiv 2506.02695, as its
abstract has it; its classes and its protocol may be others than here).
"""

from mser_jax.config import defaults


def get_config(preset: str = "paper"):
    """Return the configuration of MMEW under preset paper, fast or smoke."""
    return defaults.get_config("mmew", preset)
