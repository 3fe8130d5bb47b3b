"""CASME II: 246 clips of 26 people in four classes, filmed at 200 fps.

    python -m data_prep --config=configs/casme2.py --check --config.data.manual_dir=/path/to/CASME2
    python -m mser_jax.main --config=configs/casme2.py --config.data.manual_dir=/path/to/CASME2

(configs/casme2.py:smoke for a small run; --config.data.classes=megc2019 for three classes,
five for the usual five.)

Needs your own copy, which the Institute of Psychology of the Chinese Academy of Sciences, Beijing,
hands out under a signed agreement (the layout: data_prep/datasets/casme2/README.md), and the extra
`landmarks`, which finds the faces: pip install '.[landmarks]'

How long: the preparation about 2 min on one CPU core (0.5 s a clip, extrapolated from synthetic
clips of 0.3 megapixels).
Training: not measured; the full size (preset paper) is for GPUs, preset smoke runs on a CPU.

Published (Jin et al. 2024, table 1; docs/paper.md): accuracy 91.35 %, F1 0.889. Not computed here.
"""

from mser_jax.config import defaults


def get_config(preset: str = "paper"):
    """Return the configuration of CASME II under preset paper, fast or smoke."""
    return defaults.get_config("casme2", preset)
