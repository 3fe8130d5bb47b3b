"""Synthetic micro-expressions: the built-in data, made on the fly from one photograph.

    python -m mser_jax.main --config=configs/synthetic.py            (preset smoke)
    python -m mser_jax.main --config=configs/synthetic.py:fast

Needs nothing. The preset smoke took 113 s on two CPU cores, cold, and scored 0.594 (four classes;
README.md has the commit); `fast` and `paper` were not run to their end. Accuracy on it says nothing
about SMIC, SAMM or CASME II.
"""

from mser_jax.config import defaults


def get_config(preset: str = "smoke"):
    """Return the configuration of the synthetic set under preset smoke, fast or paper."""
    return defaults.get_config("synthetic", preset)
