"""Ten clips of noise by five subjects, in memory, with names and as on disk."""

import numpy as np

from mser_jax.data.augment import Clips
from mser_jax.data.dataset import Dataset
from mser_jax.data.stream import Streamed

SUBJECTS = np.array(list("abbcccdeea"))  # fold d trains on more clips: it has a step more
GROUPS = [f"made/{subject}" for subject in SUBJECTS]
NAMES = [f"{group}/clip{at}" for at, group in enumerate(GROUPS)]
VARIANTS = ("original", "left", "mirror")
STEP = 2 * 4  # clips of a step of two folds


def made_clips(side=16, seed=0) -> Clips:
    """Ten clips of noise; the flow of a class leans its own way, so that it can be learned."""
    rng = np.random.default_rng(seed)
    labels = np.arange(len(GROUPS), dtype=np.int32) % 3
    pixels = rng.normal(size=(len(GROUPS), 3, side, side, 2))
    pixels += np.array([[3, 0], [0, 3], [-3, -3]])[labels].reshape(-1, 1, 1, 1, 2)
    return Clips(pixels.astype(np.float16), np.ones(len(GROUPS), np.float32), labels)


CLIPS = made_clips()
DATASET = Dataset(
    clips=CLIPS,
    dataset=np.full(len(SUBJECTS), "made"),
    subject=SUBJECTS,
    clip=np.array([f"clip{at}" for at in range(len(SUBJECTS))]),
    class_names=("x", "y", "z"),
    digest="made",
    dropped={},
    release={},
    repaired={},
)


def with_an_endless_clip(index=3) -> Clips:
    """A clip whose variance overflows in the network, though its flow is finite in the shards."""
    scale = CLIPS.scale.copy()
    scale[index] = np.float32(1e25)
    return CLIPS._replace(scale=scale)


class OnDisk:
    """Stands for pixels on disk, and counts what is read."""

    def __init__(self, pixels: np.ndarray):
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self.read: list[int] = []
        self._pixels = pixels

    def __getitem__(self, index: int) -> np.ndarray:
        self.read.append(int(index))
        return self._pixels[index]


def streamed(mesh, room=STEP, clips=CLIPS) -> tuple[Streamed, OnDisk]:
    pixels = OnDisk(clips.pixels)
    return Streamed(clips._replace(pixels=pixels), mesh, room), pixels
