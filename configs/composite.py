"""The composite of MEGC 2019: SMIC, CASME II and SAMM, 442 clips of 68 people in three classes.

    python -m data_prep --config=configs/composite.py --check --config.data.manual_dir=/path/to/all
    python -m mser_jax.main --config=configs/composite.py --config.data.manual_dir=/path/to/all

Where they are not in one folder: --config.data.parts.smic=/path/to/SMIC, and likewise casme2, samm.
(configs/composite.py:smoke for a small run.)

Needs your own copies of all three, which their owners hand out under signed agreements (the layout:
data_prep/datasets/composite/README.md and those beside it), and the extra `landmarks`, which finds
the faces: pip install '.[landmarks]'

How long: the preparation about 6 min on one CPU core (extrapolated from synthetic clips, as for
each of the three).
Training: not measured; the full size (preset paper) is for GPUs, preset smoke runs on a CPU.

Published, not computed here (UF1/UAR of the whole composite, one subject left out): LBP-TOP
0.588/0.579, Bi-WOOF 0.630/0.623, CapsuleNet 0.652/0.651, OFF-ApexNet 0.720/0.710, Dual-Inception
0.732/0.728, STSTNet 0.735/0.761, RCN 0.743/0.719, FeatRef 0.784/0.783. The challenge has 145 clips
of CASME II, this set 147.
"""

from mser_jax.config import defaults


def get_config(preset: str = "paper"):
    """Return the configuration of the composite under preset paper, fast or smoke."""
    return defaults.get_config("composite", preset)
