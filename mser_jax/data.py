"""From shards to clips in memory, ready for the device."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np

from data_prep import shards
from data_prep.errors import UserError
from mser_jax.augment import Clips

PERCENTILE, SMALLEST = 95, 0.1  # of scale 'clip': never by zero, nor noise blown up to one
THREADS = 4


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Clips and their names, in the order of the shards.

    Attributes:
      clips: NumPy arrays; see `augment.Clips`.
      dataset: `[n]` text, the database of each clip.
      subject: `[n]` text.
      clip: `[n]` text, unique within the subject.
      class_names: in the order of the labels.
      dropped: reason -> clips of the release that are not here.
      release: what a database was read from (`shards.Info`).
      repaired: what was repaired of its annotation, and why -> number of values.
    """

    clips: Clips
    dataset: np.ndarray
    subject: np.ndarray
    clip: np.ndarray
    class_names: tuple[str, ...]
    dropped: dict[str, int]
    release: dict[str, Any]
    repaired: dict[str, int]

    @property
    def groups(self) -> list[str]:
        """'dataset/subject' of each clip: the group that LOSO leaves out."""
        return [f"{d}/{s}" for d, s in zip(self.dataset, self.subject)]

    @property
    def digest(self) -> str:
        """Stands for the clips: their names, order, labels and pixels, and not where they lie."""
        state = hashlib.blake2b("\n".join(self.names).encode(), digest_size=8)
        for array in self.clips:
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()

    @property
    def names(self) -> list[str]:
        """'dataset/subject/clip' of each clip."""
        return [f"{group}/{clip}" for group, clip in zip(self.groups, self.clip)]


def load(path: Path, recipe: dict[str, Any], *, kind: str, scale: str) -> Dataset:
    """Read a prepared set.

    Args:
      path: its folder.
      recipe: what it must have been made with.
      kind: 'flow' or 'frames' (the key frames after the first, which is the flow's reference).
      scale: 'none', or 'clip': divide by the 95th percentile of the clip's flow magnitude.

    Raises:
      UserError: no such set, another recipe, or a clip whose flow is not finite.
    """
    source = shards.load(path, recipe)
    records = _read(source)
    pixels = np.stack([r["flow"] if kind == "flow" else r["frames"][1:] for r in records])
    _check_finite(pixels, records)
    clips = Clips(
        pixels=pixels,
        scale=np.array([_scale(clip, kind, scale, recipe["size"]) for clip in pixels], np.float32),
        labels=np.array([r["label"] for r in records], np.int32),
    )
    return Dataset(
        clips=clips,
        dataset=np.array([r["dataset"] for r in records]),
        subject=np.array([r["subject"] for r in records]),
        clip=np.array([r["clip_id"] for r in records]),
        class_names=source.info.class_names,
        dropped=source.info.dropped
        | ({"failed in the preprocessing": q} if (q := source.info.counts["quarantined"]) else {}),
        release=source.info.release,
        repaired=source.info.repaired,
    )


def _read(source: shards.Shards) -> list[dict[str, Any]]:
    """Every record in order; threads wait for the disk together."""
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=4 * THREADS)
    return list(grain.MapDataset.source(source).to_iter_dataset(options))


def _check_finite(pixels: np.ndarray, records: Sequence[dict[str, Any]]) -> None:
    broken = [
        record["subject"] + "/" + record["clip_id"]
        for clip, record in zip(pixels, records)
        if not np.isfinite(clip).all()
    ]
    if broken:
        raise UserError(
            f"The flow of these clips is not finite: {', '.join(broken)}.\n"
            "Remedy: look at their frames, then prepare them again (python -m data_prep ...)."
        )


def _scale(pixels: np.ndarray, kind: str, scale: str, size: int) -> float:
    if kind == "frames":
        return 1 / 255
    if scale == "none":
        return 1.0
    margin = (pixels.shape[1] - size) // 2
    window = pixels[:, margin : margin + size, margin : margin + size].astype(np.float32)
    lengths = np.sqrt(np.sum(window**2, axis=-1))
    return float(1 / max(np.percentile(lengths, PERCENTILE), SMALLEST))
