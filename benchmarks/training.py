"""What the benchmarks of training share: networks, clips, the real engine, its operations.

`program` and `runner` are all that knows how `mser_jax.train.trainer.Trainer` is called.
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
    """The small network."""
    return functional(lambda rngs: STSTNet(CLASSES, side=side, rngs=rngs))


def msres3d(lowering: str, **switches: Any) -> Network:
    """The paper's network, with fields of `MSRes3DSettings`."""
    settings = MSRes3DSettings(classes=CLASSES, **switches)
    return functional(lambda rngs: MSRes3D(settings, rngs=rngs), lowering)


def clips(count: int, shape: tuple[int, ...]) -> Clips:
    """Noise, each clip of `shape`."""
    noise = np.random.default_rng(0).standard_normal((count, *shape), np.float32)
    labels = np.arange(count, dtype=np.int32) % CLASSES
    return Clips(noise, np.ones(count, np.float32), labels)


def heads(network: Network, view: View, clips: Clips) -> int:
    """How many answers the network gives for a clip."""

    def logits(key: jax.Array, clips: Clips) -> jax.Array:
        first = jnp.zeros(1, jnp.int32)
        params, stats = network.init(key)
        return network.apply(params, stats, view(clips, first, first), None, False)[0]

    return jax.eval_shape(logits, jax.random.key(0), clips).shape[1]


def make_trainer(
    network: Network, view: View, clips: Clips, *, folds: int, batch: int, mesh: Mesh, lift: str
) -> Trainer:
    """The engine, which trains every fold on all clips, in full batches."""
    settings = Settings(
        epochs=1, batch_size=batch, learning_rate=1e-5, augment="none", checkpoint_every=1
    )
    every, none = np.arange(len(clips.labels)), np.arange(0)
    named = [Fold(f"made/{fold}", every, none) for fold in range(folds)]
    return Trainer.create(
        named,
        network=network,
        view=view,
        settings=settings,
        heads=heads(network, view, clips),
        classes=CLASSES,
        mesh=mesh,
        lift=lift,
    )


def program(trainer: Trainer, feed: Feed) -> Any:
    """The compiled steps of all folds."""
    return planning.compile_steps(trainer, feed).run


def runner(compiled: Any, trainer: Trainer, feed: Feed) -> Run:
    """Run an epoch, which goes on from where the one before ended."""
    (window,) = feed.windows(trainer.schedule(0), 0, trainer.steps)
    kept, call = [], trainer.step_range(0, 0, trainer.steps)

    def run() -> None:
        carried = kept.pop() if kept else (trainer.init_state(), trainer.zero_metrics())
        kept.append(compiled(*carried, window.schedule, None, call, window.clips))
        jax.block_until_ready(kept)

    return run


def lifted_run(trainer: Trainer, clips: Clips) -> tuple[Run, float]:
    """All folds in one program, and the temporary memory of it, GB."""
    feed = Resident(clips, trainer.mesh)
    compiled = program(trainer, feed)
    memory = compiled.memory_analysis()
    return runner(compiled, trainer, feed), memory.temp_size_in_bytes / 1e9 if memory else 0.0


def operations(network: Network, shape: tuple[int, ...]) -> float:
    """Floating-point operations of a training step for one clip `[t, h, w, c]`, as XLA counts them.

    Of the network as it is written down: the native convolutions, before the compiler changes them.
    """
    params, stats = jax.eval_shape(network.init, jax.random.key(0))

    def loss(params: Any, stats: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.logsumexp(network.apply(params, stats, x, None, True)[0], axis=-1))

    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)  # one clip alone has no variance
    counted: Any = jax.jit(jax.grad(loss)).lower(params, stats, x).cost_analysis()
    return counted["flops"] / 2
