"""Clips that do not fit on a device: read from the shards while the devices compute (grain)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from mser_jax import parallel
from mser_jax.data.augment import Clips
from mser_jax.data.feed import Window

THREADS = 4


class Plan(NamedTuple):
    """A window before its clips are read.

    Attributes:
      first: the first step.
      stop: the one after the last.
      clips: of each device, the clips that its folds need, in rising order.
    """

    first: int
    stop: int
    clips: list[np.ndarray]


class Streamed:
    """Each device holds the clips that its folds need next.

    A window is as many steps as have no more than `room` different clips on any device. The clips
    of the next window are read meanwhile.

    Args:
      clips: `pixels` may be anything that gives a clip for an index.
      variants: how many variants a clip has.
      mesh: the devices.
      room: how many clips a device holds of a window; at least those of one step.
    """

    streamed = True

    def __init__(self, clips: Clips, variants: int, mesh: Mesh, room: int):
        self._clips, self._variants, self._mesh, self._room = clips, variants, mesh, room

    def windows(
        self, schedule: Int[np.ndarray, "slot step b"], first: int, stop: int
    ) -> Iterator[Window]:
        """As many as it takes, in order."""
        by_device = np.split(schedule, self._mesh.devices.size)
        plans = list(_plans([self._clip(part) for part in by_device], first, stop, self._room))
        pixels = self._read([clip for plan in plans for part in self._own(plan) for clip in part])
        for plan in plans:
            numbered = [self._numbered(part, clips) for part, clips in zip(by_device, plan.clips)]
            yield Window(
                plan.first,
                plan.stop,
                parallel.shard(np.concatenate(numbered), self._mesh),
                self._on_devices(plan, pixels),
            )

    def _clip(self, entries: np.ndarray) -> np.ndarray:
        """The clips of entries; -1 of empty ones."""
        return np.where(entries < 0, -1, entries // self._variants)

    def _numbered(self, entries: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """The entries with the clips' places in the window; of other windows' steps anything."""
        place = np.minimum(np.searchsorted(clips, self._clip(entries)), len(clips) - 1)
        return np.where(entries < 0, entries, place * self._variants + entries % self._variants)

    def _own(self, plan: Plan) -> list[np.ndarray]:
        """Of the devices of this process."""
        here = jax.process_index()
        return [
            clips
            for clips, device in zip(plan.clips, self._mesh.devices)
            if device.process_index == here
        ]

    def _read(self, order: Sequence[int]) -> Iterator[np.ndarray]:
        options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=max(1, self._room))
        source = _Ordered(self._clips.pixels, order)
        return iter(grain.MapDataset.source(source).to_iter_dataset(options))

    def _on_devices(self, plan: Plan, pixels: Iterator[np.ndarray]) -> Clips:
        """The window's clips, `[device * room, ...]`; places that are not needed are zero."""
        parts = []
        for clips in self._own(plan):
            part = Clips(
                np.zeros((self._room, *self._clips.pixels.shape[1:]), self._clips.pixels.dtype),
                np.zeros(self._room, np.float32),
                np.zeros(self._room, np.int32),
            )
            for place in range(len(clips)):
                part.pixels[place] = next(pixels)
            part.scale[: len(clips)] = self._clips.scale[clips]
            part.labels[: len(clips)] = self._clips.labels[clips]
            parts.append(part)
        sharding = NamedSharding(self._mesh, PartitionSpec(parallel.AXIS))
        return jax.tree.map(
            lambda *each: jax.make_array_from_process_local_data(sharding, np.concatenate(each)),
            *parts,
        )


class _Ordered:
    """The clips in the order in which they are needed, as grain wants a source."""

    def __init__(self, pixels: Any, order: Sequence[int]):
        self._pixels, self._order = pixels, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._pixels[self._order[index]]


def _plans(
    by_device: Sequence[Int[np.ndarray, "slot step b"]], first: int, stop: int, room: int
) -> Iterator[Plan]:
    """Steps into windows, each as long as it may be."""
    need: list[set[int]] = [set() for _ in by_device]
    began = first
    for step in range(first, stop):
        more = [set(part[:, step][part[:, step] >= 0].tolist()) for part in by_device]
        together = [old | new for old, new in zip(need, more)]
        if max(map(len, together)) > room and step > began:
            yield Plan(began, step, [_sorted(clips) for clips in need])
            began, together = step, more
        need = together
    if stop > first:
        yield Plan(began, stop, [_sorted(clips) for clips in need])


def _sorted(clips: set[int]) -> np.ndarray:
    """In rising order; never empty, so that every entry has a place."""
    return np.array(sorted(clips) or [0])
