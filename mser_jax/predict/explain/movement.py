"""The page of a movement that a model has classified."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mser_jax.config import networks
from mser_jax.predict import serving
from mser_jax.predict.answers import ClassifiedMovement
from mser_jax.predict.explain import gradcam
from mser_jax.predict.explain import page as reason_page
from mser_jax.predict.explain.gradcam import Reason
from mser_jax.predict.model import Model


def write(
    path: Path, model: Model, movement: ClassifiedMovement, *, title: str, faces: bool
) -> None:
    """Write the page of one movement.

    Args:
      path: Output file.
      model: Model that has classified the movement.
      movement: Classified movement.
      title: Name of the source, such as a video's name.
      faces: Whether the page may show faces.

    Raises:
      UserError: The file cannot be written.
    """
    rule = model.description["rule"]
    temperature = (
        f"Scaled by a temperature of {rule['temperature']:.2f}, fitted on held-out clips of the "
        "training's data set."
    )
    reason_page.write(
        path,
        movement.answer,
        movement.record,
        explain_movement(model, movement),
        title=title,
        faces=faces,
        temperature_note=temperature if model.calibrated else "",
        rule=rule["name"],
        channels=networks.view(model.config).channels,
        alpha=model.recipe["magnify"]["alpha"] if "magnify" in model.recipe["stages"] else 0.0,
    )


def explain_movement(model: Model, movement: ClassifiedMovement) -> Reason:
    """Explain the model's answer for a movement.

    Args:
      model: Model that has classified it.
      movement: Classified movement.
    """
    preprocess = serving.make_preprocess_fn(networks.view(model.config), model.config.input.scale)
    return gradcam.explain(
        networks.model_settings(model.config, len(model.class_names)),
        model.params,
        model.stats,
        np.asarray(preprocess(jnp.asarray(model.pixels(movement.record))[None])[0]),
        target=model.class_names.index(movement.answer.label),
        lowering=model.config.model.lowering,
    )
