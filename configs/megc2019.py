r"""MEGC 2019 as images of flow: 442 clips of 68 people in three classes, and the field's models.

    python -m mser_jax.main --config=configs/megc2019.py --config.data.manual_dir=/path/to/HTNet
    python -m mser_jax.main --config=configs/megc2019.py:ststnet --config.data.manual_dir=...
    python -m mser_jax.main --config=configs/megc2019.py --config.data.manual_dir=... \
      --config.suite.models="('majority', 'svm_linear', 'mirror_svm', 'ststnet')"

After the file stands a model, or `all` (the default), which runs every model, the quickest first,
and fills one table as it goes; the same command goes on where it was stopped.

    majority svm_linear svm_rbf mirror_svm     fitted in seconds
    ststnet off_apexnet dual_inception rcn capsulenet htnet msres2d     trained, five seeds each

Needs your own clone of wangzhifengharrison/HTNet, which derives from databases that their owners
hand out under signed agreements (docs/data.md says what that means). Without it a drawn tree does:
python -m data_prep.synthetic.release --layout=megc2019 --out=drawn

How long: `all` estimates every model on your machine before it begins. What came out, and what is
published: docs/models.md.
"""

from mser_jax.config import defaults


def get_config(model: str = "all"):
    """Return the configuration of a model of `mser_jax.config.zoo`, or of all."""
    return defaults.get_config("megc2019", model)
