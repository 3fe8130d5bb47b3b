"""Shared code of the training benchmarks: networks, clips, trainers, counts of operations.

Only `program` and `runner` know how to call `mser_jax.train.trainer.Trainer`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mser_jax.data.augment import Clips, View
from mser_jax.data.feed import Feed, Resident
from mser_jax.data.folds import Fold
from mser_jax.models import MSRes3D, MSRes3DSettings, Network, functional
from mser_jax.models.baselines.ststnet import STSTNet
from mser_jax.train import planning
from mser_jax.train.trainer import Settings, Trainer

Run = Callable[[], object]

CLASSES = 3
FLOW = ("u", "v", "strain")
SMOKE: dict[str, Any] = {"block": "basic", "width": 8, "depths": (1, 1, 1, 1), "hidden": 32}
PLAIN: dict[str, Any] = {"attention": False, "rc": None, "fusion": False}
TOY: dict[str, Any] = PLAIN | SMOKE | {"width": 2, "hidden": 4}


def ststnet(side: int) -> Network:
    """Create the small network.

    Args:
      side: Side of its input in px.
    """
    return functional(lambda rngs: STSTNet(CLASSES, side=side, rngs=rngs))


def msres3d(lowering: str, **switches: Any) -> Network:
    """Create the paper's network.

    Args:
      lowering: Lowering of its convolutions.
      **switches: Fields of `MSRes3DSettings`.
    """
    settings = MSRes3DSettings(classes=CLASSES, **switches)
    return functional(lambda rngs: MSRes3D(settings, rngs=rngs), lowering)


def clips(count: int, shape: tuple[int, ...]) -> Clips:
    """Make clips of noise.

    Args:
      count: Number of clips.
      shape: Shape of a clip, `(t, h, w, c)`.
    """
    noise = np.random.default_rng(0).standard_normal((count, *shape), np.float32)
    labels = np.arange(count, dtype=np.int32) % CLASSES
    return Clips(noise, np.ones(count, np.float32), labels)


def heads(network: Network, view: View, clips: Clips) -> int:
    """Return the number of heads of a network.

    Args:
      network: Network.
      view: View of the clips that the network takes.
      clips: Clips.
    """

    def logits(key: jax.Array, clips: Clips) -> jax.Array:
        index = jnp.zeros(1, jnp.int32)
        params, stats = network.init(key)
        return network.apply(params, stats, view(clips, index, index), None, False)[0]

    return jax.eval_shape(logits, jax.random.key(0), clips).shape[1]


def make_trainer(
    network: Network, view: View, clips: Clips, *, folds: int, batch: int, mesh: Mesh, lift: str
) -> Trainer:
    """Create a trainer of folds that each train on all clips, in full batches.

    Args:
      network: Network.
      view: View of the clips that the network takes.
      clips: Clips.
      folds: Number of folds.
      batch: Clips per step.
      mesh: Devices.
      lift: Lift over the folds, 'vmap' or 'map'.
    """
    settings = Settings(
        epochs=1, batch_size=batch, learning_rate=1e-5, augment="none", checkpoint_every=1
    )
    train, test = np.arange(len(clips.labels)), np.arange(0)
    fold_list = [Fold(f"made/{fold}", train, test) for fold in range(folds)]
    return Trainer.create(
        fold_list,
        network=network,
        view=view,
        settings=settings,
        heads=heads(network, view, clips),
        classes=CLASSES,
        mesh=mesh,
        lift=lift,
    )


def program(trainer: Trainer, feed: Feed) -> Any:
    """Compile the steps of all folds.

    Args:
      trainer: Trainer.
      feed: Clips on the devices.
    """
    return planning.compile_steps(trainer, feed).run


def runner(compiled: Any, trainer: Trainer, feed: Feed) -> Run:
    """Create a run of one epoch, which continues where the last one ended.

    Args:
      compiled: Program of `program`.
      trainer: Trainer.
      feed: Clips on the devices.
    """
    (window,) = feed.windows(trainer.schedule(0), 0, trainer.steps)
    carry, steps = [], trainer.step_range(0, 0, trainer.steps)

    def run() -> None:
        # The program donates its carry, so the list must not keep the old one.
        state = carry.pop() if carry else (trainer.init_state(), trainer.zero_metrics())
        carry.append(compiled(*state, window.schedule, None, steps, window.clips))
        jax.block_until_ready(carry)

    return run


def lifted_run(trainer: Trainer, clips: Clips) -> tuple[Run, float]:
    """Create a run of all folds in one program.

    Args:
      trainer: Trainer.
      clips: Clips.

    Returns:
      (run, memory): the run, and the temporary memory of its program in GB.
    """
    feed = Resident(clips, trainer.mesh)
    compiled = program(trainer, feed)
    memory = compiled.memory_analysis()
    return runner(compiled, trainer, feed), memory.temp_size_in_bytes / 1e9 if memory else 0.0


def operations(network: Network, shape: tuple[int, ...]) -> float:
    """Count the floating-point operations of a training step for one clip, by XLA.

    The count is that of the program before the compiler changes it.

    Args:
      network: Network with native convolutions.
      shape: Shape of the clip, `[t, h, w, c]`.
    """
    params, stats = jax.eval_shape(network.init, jax.random.key(0))

    def loss(params: Any, stats: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.logsumexp(network.apply(params, stats, x, None, True)[0], axis=-1))

    # Two clips, since a single one has no variance to normalise by.
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    cost: Any = jax.jit(jax.grad(loss)).lower(params, stats, x).cost_analysis()
    return cost["flops"] / 2
