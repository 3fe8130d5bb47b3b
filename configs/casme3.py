"""CAS(ME)^3, part A: 860 clips of 94 people in four classes, filmed at 30 fps.

    python -m data_prep --config=configs/casme3.py --check --config.data.manual_dir=/path/to/CASME3
    python -m mser_jax.main --config=configs/casme3.py --config.data.manual_dir=/path/to/CASME3

(configs/casme3.py:smoke for a small run; --config.data.classes=megc2019 for three classes,
emotion for the sheet's seven.)

Needs your own copy, which the Institute of Psychology of the Chinese Academy of Sciences, Beijing,
hands out under a signed agreement (the layout: data_prep/datasets/casme3/README.md), and the extra
`landmarks`, which finds the faces: pip install '.[landmarks]'

How long: the preparation about 8 min on one CPU core (0.5 s a clip, extrapolated from synthetic
clips of 0.9 megapixels that were cut out; of whole recordings, more).
Training: not measured; the full size (preset paper) is for GPUs, preset smoke runs on a CPU.

Published, not computed here: UAR 0.6125 in three classes and 0.4913 in four (Micron-BERT, Nguyen et
al. 2023; read in a public list of results, not in the paper's own table).
"""

from mser_jax.config import defaults


def get_config(preset: str = "paper"):
    """Return the configuration of CAS(ME)^3 under preset paper, fast or smoke."""
    return defaults.get_config("casme3", preset)
