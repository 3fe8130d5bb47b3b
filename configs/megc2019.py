"""MEGC 2019 as images of flow: 442 clips of 68 people in three classes, and the field's models.

python -m mser_jax.main --config=configs/megc2019.py --config.data.manual_dir=/path/to/HTNet
"""

from mser_jax import config as base


def get_config(model: str = "all"):
    """A model of `mser_jax.zoo`, or all of them."""
    return base.get_config("megc2019", model)
