"""Micro-expression recognition with a multi-scale 3D residual network (Jin et al., 2024) in JAX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mser_jax.predict.model import Model

__version__ = "0.1.0"


def load(path: Path | str) -> Model:
    """The trained model in a folder that `python -m mser_jax.export` has made.

    `model.predict(frames, fps)` then finds movements and says of which class they are, as a
    `mser_jax.predict.answers.VideoAnswer`. Nothing in the folder is executed.

    Args:
      path: of the folder.

    Raises:
      UserError: there is no model, it was changed, or this version of mser_jax cannot use it.
    """
    from mser_jax.predict.model import Model  # with JAX, which a look at the version does without

    return Model.read(path)
