"""Any folder: your own clips, or a database that has no configuration here.

    python -m data_prep --config=configs/folder.py --check --config.data.manual_dir=/path/to/CLIPS
    python -m mser_jax.main --config=configs/folder.py --config.data.manual_dir=/path/to/CLIPS

(configs/folder.py:smoke for a small run; data_prep.synthetic --out=CLIPS writes such a folder.)

Needs a sheet in that folder, labels.csv, with the columns clip, subject, label, onset, apex,
offset, fps and path (data_prep/datasets/folder/README.md), and the extra `landmarks`, which finds
the faces: pip install '.[landmarks]'. Without marks a whole clip is one movement; an apex that is
not marked is estimated.

How long: the preparation about half a second a clip of 80 frames and 0.3 megapixels on one CPU
core (measured on synthetic clips).
Training: not measured; the full size (preset paper) is for GPUs, preset smoke runs on a CPU.

Published: nothing, since the clips are yours.
"""

from mser_jax.config import defaults


def get_config(preset: str = "paper"):
    """Return the configuration of a folder of clips under preset paper, fast or smoke."""
    return defaults.get_config("folder", preset)
