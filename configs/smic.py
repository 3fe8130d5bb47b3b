"""SMIC, the HS subset: 164 clips of 16 people in three classes, filmed at 100 fps.

    python -m data_prep --config=configs/smic.py --check --config.data.manual_dir=/path/to/SMIC
    python -m mser_jax.main --config=configs/smic.py --config.data.manual_dir=/path/to/SMIC

(configs/smic.py:smoke for a small run.)

Needs your own copy, which the Center for Machine Vision and Signal Analysis of the University of
Oulu, Finland, hands out under a signed agreement (the layout: data_prep/datasets/smic/README.md),
and the extra `landmarks`, which finds the faces: pip install '.[landmarks]'

How long: the preparation about 1 min on one CPU core (0.4 s a clip, extrapolated from synthetic
clips of 0.3 megapixels).
Training: not measured; the full size (preset paper) is for GPUs, preset smoke runs on a CPU.

Published (Jin et al. 2024, table 1; docs/paper.md): accuracy 74.60 %, F1 0.751. Not computed here.
"""

from mser_jax.config import defaults


def get_config(preset: str = "paper"):
    """Return the configuration of SMIC-HS under preset paper, fast or smoke."""
    return defaults.get_config("smic", preset)
