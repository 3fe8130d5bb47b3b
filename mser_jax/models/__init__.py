"""Networks in Flax. Imports JAX, Flax and itself, nothing else of this repository.

`functional` turns a module into pure functions, to which JAX's transforms (such as `vmap` over
folds) apply:

>>> import jax, jax.numpy as jnp
>>> from mser_jax.models import MSRes3D, MSRes3DSettings, functional
>>> settings = MSRes3DSettings(classes=3, width=4, depths=(1, 1, 1, 1), block="basic", hidden=8)
>>> network = functional(lambda rngs: MSRes3D(settings, rngs=rngs))
>>> params, batch_stats = jax.jit(network.init)(jax.random.key(0))
>>> clips = jnp.zeros((2, 8, 56, 56, 3))  # [b, t, h, w, channels]
>>> apply = jax.jit(network.apply, static_argnames="train")
>>> logits, _ = apply(params, batch_stats, clips, None, train=False)
>>> logits.shape  # [b, heads, classes]
(2, 4, 3)
"""

from mser_jax.models.baselines.capsulenet import CapsuleNet
from mser_jax.models.baselines.dual_inception import DualInception
from mser_jax.models.baselines.htnet import HTNet, HTNetSettings
from mser_jax.models.baselines.off_apexnet import OFFApexNet
from mser_jax.models.baselines.rcn import RCN
from mser_jax.models.baselines.ststnet import STSTNet
from mser_jax.models.msres3d import MSRes3D, MSRes3DSettings
from mser_jax.models.multiscale import BranchStyle
from mser_jax.models.network import Network, functional

__all__ = [
    "RCN",
    "BranchStyle",
    "CapsuleNet",
    "DualInception",
    "HTNet",
    "HTNetSettings",
    "MSRes3D",
    "MSRes3DSettings",
    "Network",
    "OFFApexNet",
    "STSTNet",
    "functional",
]
