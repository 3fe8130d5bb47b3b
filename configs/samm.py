"""SAMM: 159 clips of 28 or 29 people in four classes, filmed at 200 fps in grey.

    python -m data_prep --config=configs/samm.py --check --config.data.manual_dir=/path/to/SAMM
    python -m mser_jax.main --config=configs/samm.py --config.data.manual_dir=/path/to/SAMM

(configs/samm.py:smoke for a small run; --config.data.classes=megc2019 for three classes,
five for the usual five.)

Needs your own copy, which the Department of Computing and Mathematics of Manchester Metropolitan
University, United Kingdom, hands out under a signed agreement (the layout:
data_prep/datasets/samm/README.md), and the extra `landmarks`, which finds the faces:
pip install '.[landmarks]'

How long: the preparation about 4 min on one CPU core (1.4 s a clip, extrapolated from synthetic
clips of 2.2 megapixels).
Training: not measured; the full size (preset paper) is for GPUs, preset smoke runs on a CPU.

Published (Jin et al. 2024, table 1; docs/paper.md): accuracy 84.77 %, F1 0.793. Not computed here.
"""

from mser_jax.config import defaults


def get_config(preset: str = "paper"):
    """Return the configuration of SAMM under preset paper, fast or smoke."""
    return defaults.get_config("samm", preset)
