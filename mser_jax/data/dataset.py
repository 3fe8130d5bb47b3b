"""Clips read from shards into memory, ready for the device."""

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
from mser_jax.data.augment import Clips, scale_factor

THREADS = 4


class StoredPixels:
    """The pixels of a prepared set, left on disk: an index reads one clip.

    Attributes:
      shape: `[n, t, s, s, channels]`, the shape of all clips together.
      dtype: Type of a clip.
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
      clips: Clips, with NumPy arrays or `StoredPixels`.
      dataset: `[n]` text, database of each clip.
      subject: `[n]` text, subject of each clip.
      clip: `[n]` text, name of each clip, unique within the subject.
      class_names: Names of the classes, in the order of the labels.
      digest: Digest of the clips: of their names, order, labels and pixels, not of their location.
      dropped: Reason -> number of clips of the release that are not in the set.
      release: Source of each database (`data_prep.shards.dataset.Info`).
      repaired: Repair of an annotation and its reason -> number of values.
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
        """'dataset/subject' of each clip, the group that LOSO leaves out."""
        return [f"{d}/{s}" for d, s in zip(self.dataset, self.subject)]

    @property
    def names(self) -> list[str]:
        """'dataset/subject/clip' of each clip."""
        return [f"{group}/{clip}" for group, clip in zip(self.groups, self.clip)]

    def facts(self) -> dict[str, Any]:
        """Return the facts of the clips that belong to a model trained on them."""
        labels = np.asarray(self.clips.labels)
        counts = np.bincount(labels, minlength=len(self.class_names)).tolist()
        databases, clips = np.unique(self.dataset, return_counts=True)
        return {
            "class_names": list(self.class_names),
            "clips": len(labels),
            "per_class": dict(zip(self.class_names, counts)),
            "subjects": len(set(self.groups)),
            "per_dataset": dict(zip(databases.tolist(), clips.tolist())),
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
      path: Folder of the set.
      recipe: Recipe that the set must have been made with.
      kind: 'flow', 'frames' (the key frames after the first, which is the flow's reference), or
        'images' (images of flow).
      scale: 'none'; 'clip' (divide by the 95th percentile of the clip's flow magnitude); or 'unit'
        (divide by 255).
      fits_in_memory: Function that tells whether this number of bytes of pixels may be held in
        memory. Otherwise the pixels stay on disk.

    Raises:
      UserError: The set does not exist or has another recipe, or the flow of a clip is not finite.
    """
    source = shards.load_shards(path, recipe)
    scale = "unit" if kind == "frames" else scale
    stored = StoredPixels(source, kind)
    size = math.prod(stored.shape) * stored.dtype.itemsize
    pixels = np.empty(stored.shape, stored.dtype) if fits_in_memory(size) else stored
    facts: list[_Facts] = []
    digest = hashlib.blake2b(digest_size=8)
    for index, record in enumerate(_read_records(source)):
        clip = _pixels(record, kind)
        digest.update(np.ascontiguousarray(clip).data)
        finite = bool(np.isfinite(clip).all())
        factor = float(scale_factor(clip, scale, recipe["size"], np)) if finite else 0.0
        facts.append(_facts(record, factor, finite))
        if isinstance(pixels, np.ndarray):
            pixels[index] = clip
    _check_finite(facts)
    for fact in facts:
        digest.update(repr(fact).encode())
    columns = _Facts(*map(np.array, zip(*facts)))
    return Dataset(
        clips=Clips(pixels, columns.scale.astype(np.float32), columns.label.astype(np.int32)),
        dataset=columns.dataset,
        subject=columns.subject,
        clip=columns.clip,
        class_names=source.info.class_names,
        digest=digest.hexdigest(),
        dropped=source.info.dropped
        | (
            {"failed in the preprocessing": count}
            if (count := source.info.counts["quarantined"])
            else {}
        ),
        release=source.info.release,
        repaired=source.info.repaired,
    )


class _Facts(NamedTuple):
    """Fields of a record besides its pixels, and what was computed from them."""

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
    """Return all records in order; several threads read ahead."""
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
            "Fix: check their frames, then prepare them again (python -m data_prep ...)."
        )
