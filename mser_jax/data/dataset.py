"""From shards to clips in memory, ready for the device."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import grain
import numpy as np

from data_prep.common.errors import UserError
from data_prep.shards import dataset as shards
from mser_jax.data.augment import MIN_MAGNITUDE, PERCENTILE, Clips

THREADS = 4


class StoredPixels:
    """The pixels of a prepared set, left on disk: an index reads one clip.

    Attributes:
      shape: `[n, t, s, s, channels]`, as if all were read.
      dtype: of a clip.
    """

    def __init__(self, source: shards.Shards, kind: str):
        self._source, self._kind = source, kind
        first = self[0]
        self.shape, self.dtype = (len(source), *first.shape), first.dtype

    def __getitem__(self, index: SupportsIndex) -> np.ndarray:
        return _pixels(self._source[index], self._kind)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Clips and their names, in the order of the shards.

    Attributes:
      clips: NumPy arrays, or `Stored` pixels; see `augment.Clips`.
      dataset: `[n]` text, the database of each clip.
      subject: `[n]` text.
      clip: `[n]` text, unique within the subject.
      class_names: in the order of the labels.
      digest: stands for the clips: their names, order, labels and pixels, and not where they lie.
      dropped: reason -> clips of the release that are not here.
      release: what a database was read from (`data_prep.shards.dataset.Info`).
      repaired: what was repaired of its annotation, and why -> number of values.
    """

    clips: Clips
    dataset: np.ndarray
    subject: np.ndarray
    clip: np.ndarray
    class_names: tuple[str, ...]
    digest: str
    dropped: dict[str, int]
    release: dict[str, Any]
    repaired: dict[str, int]

    @property
    def groups(self) -> list[str]:
        """'dataset/subject' of each clip: the group that LOSO leaves out."""
        return [f"{d}/{s}" for d, s in zip(self.dataset, self.subject)]

    @property
    def names(self) -> list[str]:
        """'dataset/subject/clip' of each clip."""
        return [f"{group}/{clip}" for group, clip in zip(self.groups, self.clip)]

    def facts(self) -> dict[str, Any]:
        """Return what a reader of a model should know of the clips that it was trained on."""
        labels = np.asarray(self.clips.labels)
        counts = np.bincount(labels, minlength=len(self.class_names)).tolist()
        names, clips = np.unique(self.dataset, return_counts=True)
        return {
            "class_names": list(self.class_names),
            "clips": len(labels),
            "per_class": dict(zip(self.class_names, counts)),
            "subjects": len(set(self.groups)),
            "per_dataset": dict(zip(names.tolist(), clips.tolist())),
            "digest": self.digest,
        }


def load(
    path: Path,
    recipe: dict[str, Any],
    *,
    kind: str,
    scale: str,
    fits_in_memory: Callable[[int], bool],
) -> Dataset:
    """Read a prepared set.

    Args:
      path: its folder.
      recipe: what it must have been made with.
      kind: 'flow', 'frames' (the key frames after the first, which is the flow's reference), or
        'images' of flow.
      scale: 'none'; 'clip': divide by the 95th percentile of the clip's flow magnitude; 'unit':
        divide by 255.
      fits_in_memory: whether so many bytes of pixels are kept; else they stay on disk.

    Raises:
      UserError: no such set, another recipe, or a clip whose flow is not finite.
    """
    source = shards.load_shards(path, recipe)
    stored = StoredPixels(source, kind)
    size = math.prod(stored.shape) * stored.dtype.itemsize
    pixels = np.empty(stored.shape, stored.dtype) if fits_in_memory(size) else stored
    facts: list[_Facts] = []
    read = hashlib.blake2b(digest_size=8)
    for index, record in enumerate(_read_records(source)):
        clip = _pixels(record, kind)
        read.update(np.ascontiguousarray(clip).data)
        finite = bool(np.isfinite(clip).all())
        factor = _scale(clip, kind, scale, recipe["size"]) if finite else 0.0
        facts.append(_facts(record, factor, finite))
        if isinstance(pixels, np.ndarray):
            pixels[index] = clip
    _check_finite(facts)
    for fact in facts:
        read.update(repr(fact).encode())
    columns = _Facts(*map(np.array, zip(*facts)))
    return Dataset(
        clips=Clips(pixels, columns.scale.astype(np.float32), columns.label.astype(np.int32)),
        dataset=columns.dataset,
        subject=columns.subject,
        clip=columns.clip,
        class_names=source.info.class_names,
        digest=read.hexdigest(),
        dropped=source.info.dropped
        | ({"failed in the preprocessing": q} if (q := source.info.counts["quarantined"]) else {}),
        release=source.info.release,
        repaired=source.info.repaired,
    )


class _Facts(NamedTuple):
    """What is kept of a record beside its pixels."""

    dataset: Any
    subject: Any
    clip: Any
    label: Any
    scale: Any
    finite: Any


def _facts(record: dict[str, Any], scale: float, finite: bool) -> _Facts:
    return _Facts(
        record["dataset"],
        record["subject"],
        record["clip_id"],
        int(record["label"]),
        scale,
        finite,
    )


def _read_records(source: shards.Shards) -> Iterator[dict[str, Any]]:
    """Every record in order; threads wait for the disk together."""
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=4 * THREADS)
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))


def _pixels(record: dict[str, Any], kind: str) -> np.ndarray:
    if kind == "images":
        return record["image"]
    return record["flow"] if kind == "flow" else record["frames"][1:]


def _check_finite(facts: Sequence[_Facts]) -> None:
    broken = [f"{fact.subject}/{fact.clip}" for fact in facts if not fact.finite]
    if broken:
        raise UserError(
            f"The flow of these clips is not finite: {', '.join(broken)}.\n"
            "Fix: look at their frames, then prepare them again (python -m data_prep ...)."
        )


def _scale(pixels: np.ndarray, kind: str, scale: str, size: int) -> float:
    if kind == "frames" or scale == "unit":
        return 1 / 255
    if scale == "none":
        return 1.0
    margin = (pixels.shape[1] - size) // 2
    window = pixels[:, margin : margin + size, margin : margin + size].astype(np.float32)
    lengths = np.sqrt(np.sum(window**2, axis=-1))
    return float(1 / max(np.percentile(lengths, PERCENTILE), MIN_MAGNITUDE))
