"""The network that a configuration names, and its view of a clip."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from flax import nnx
from ml_collections import ConfigDict

from mser_jax.config import zoo
from mser_jax.data.augment import View
from mser_jax.models import cost
from mser_jax.models.baselines.capsulenet import CapsuleNet
from mser_jax.models.baselines.dual_inception import DualInception
from mser_jax.models.baselines.htnet import HTNet
from mser_jax.models.baselines.off_apexnet import OFFApexNet
from mser_jax.models.baselines.rcn import RCN
from mser_jax.models.baselines.ststnet import STSTNet
from mser_jax.models.msres3d import MSRes3D, MSRes3DSettings
from mser_jax.models.multiscale import BranchStyle
from mser_jax.models.network import Network, functional

# Published baselines, for one onset-apex flow per clip (`zoo`); each has one head.
_BASELINES: Mapping[str, Callable[..., nnx.Module]] = MappingProxyType(
    {
        "ststnet": STSTNet,
        "off_apexnet": OFFApexNet,
        "dual_inception": DualInception,
        "rcn": RCN,
        "capsulenet": CapsuleNet,
        "htnet": HTNet,
    }
)


def is_network(config: ConfigDict) -> bool:
    """Return whether the run trains a network, rather than fits a classical model."""
    name = config.model.get("name")
    return name is None or not zoo.model(name).classical


def is_baseline_network(config: ConfigDict) -> bool:
    """Return whether the run trains a published baseline, not the paper's network."""
    return config.model.get("name") in _BASELINES


def constructor(config: ConfigDict, classes: int) -> Callable[[nnx.Rngs], Any]:
    """Return the function that creates the network from random number generators.

    Args:
      config: Configuration of a run whose model is a network.
      classes: Number of classes.
    """
    baseline = _BASELINES.get(config.model.get("name"))
    if baseline is not None:
        return lambda rngs: baseline(classes, side=config.prep.size, rngs=rngs)
    settings = model_settings(config, classes)
    return lambda rngs: MSRes3D(settings, rngs=rngs)


def network(config: ConfigDict, classes: int) -> Network:
    """Create the network as pure functions.

    Args:
      config: Configuration of a run whose model is a network.
      classes: Number of classes.
    """
    return functional(constructor(config, classes), config.model.lowering)


def view(config: ConfigDict, variants: Sequence[str] = ("original",)) -> View:
    """Create the network's view of a clip.

    Args:
      config: Configuration of the run.
      variants: Augmentation variants of the training, the original first.
    """
    kind = config.input.kind
    return View(
        size=config.prep.size,
        variants=tuple(variants),
        channels=() if kind == "frames" else tuple(config.input.channels),
        images=kind == "images",
    )


def heads(config: ConfigDict) -> int:
    """Return the number of heads, each of which gives an answer."""
    return 1 if is_baseline_network(config) else model_settings(config, 2).heads


def clip_shape(config: ConfigDict) -> tuple[int, int, int, int]:
    """Return the shape of the network's input, `[t, h, w, c]`."""
    channels = 1 if config.input.kind == "frames" else len(config.input.channels)
    return config.prep.steps, config.prep.size, config.prep.size, channels


def multiply_adds(config: ConfigDict, classes: int) -> int:
    """Count the multiply-adds of the forward pass for one clip."""
    shape = clip_shape(config)
    if is_baseline_network(config):
        return cost.multiply_adds(constructor(config, classes), shape)
    return sum(call.macs for call in cost.calls(model_settings(config, classes), shape))


def model_settings(config: ConfigDict, classes: int) -> MSRes3DSettings:
    """Convert the fields of the configuration to the settings of the paper's network.

    Args:
      config: Configuration of the paper's network.
      classes: Number of classes.
    """
    model = config.model
    style = BranchStyle(model.rc.reduction, model.rc.restore, model.rc.chain, model.rc.weights)
    return MSRes3DSettings(
        classes=classes,
        channels=clip_shape(config)[-1],
        block=model.block,
        width=model.width,
        depths=tuple(model.depths),
        attention=model.attention,
        rc=style if model.rc.on else None,
        fusion=model.fusion.on,
        cascade=model.fusion.cascade,
        cam_reduction=model.fusion.reduction,
        hidden=model.head.hidden,
        dropout=model.head.dropout,
        dtype=model.dtype,
        remat=model.remat,
        temporal=model.get("name") != "msres2d",
    )
