"""Clips that do not fit on a device: read from the shards while the devices compute (grain)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mser_jax import parallel
from mser_jax.data.augment import Clips
from mser_jax.data.feed import Window
from mser_jax.data.schedule import Batch

THREADS = 4


class WindowPlan(NamedTuple):
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
      mesh: the devices.
      room: how many clips a device holds of a window; at least those of one step.
    """

    streamed = True

    def __init__(self, clips: Clips, mesh: Mesh, clips_per_device: int):
        self._clips, self._mesh, self._clips_per_device = clips, mesh, clips_per_device

    def windows(self, schedule: Batch, first: int, stop: int) -> Iterator[Window]:
        """Yield as many windows as it takes, in order."""
        devices = self._mesh.devices.size
        by_device = [Batch(*part) for part in zip(*(np.split(leaf, devices) for leaf in schedule))]
        plans = list(_plan_windows(by_device, first, stop, self._clips_per_device))
        pixels = self._read_pixels(
            [clip for plan in plans for part in self._local_clips(plan) for clip in part]
        )
        for plan in plans:
            places = [
                _window_indices(part.clip, clips) for part, clips in zip(by_device, plan.clips)
            ]
            numbered = schedule._replace(clip=np.concatenate(places))
            yield Window(
                plan.first,
                plan.stop,
                parallel.shard(numbered, self._mesh),
                self._device_clips(plan, pixels),
            )

    def _local_clips(self, plan: WindowPlan) -> list[np.ndarray]:
        """Return the clips needed by the devices of this process."""
        here = jax.process_index()
        return [
            clips
            for clips, device in zip(plan.clips, self._mesh.devices)
            if device.process_index == here
        ]

    def _read_pixels(self, order: Sequence[int]) -> Iterator[np.ndarray]:
        options = grain.ReadOptions(
            num_threads=THREADS, prefetch_buffer_size=max(1, self._clips_per_device)
        )
        source = _OrderedPixels(self._clips.pixels, order)
        return iter(grain.MapDataset.source(source).to_iter_dataset(options))

    def _device_clips(self, plan: WindowPlan, pixels: Iterator[np.ndarray]) -> Clips:
        """The window's clips, `[device * room, ...]`; places that are not needed are zero."""
        parts = []
        for clips in self._local_clips(plan):
            part = Clips(
                np.zeros(
                    (self._clips_per_device, *self._clips.pixels.shape[1:]),
                    self._clips.pixels.dtype,
                ),
                np.zeros(self._clips_per_device, np.float32),
                np.zeros(self._clips_per_device, np.int32),
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


class _OrderedPixels:
    """The clips in the order in which they are needed, as grain wants a source."""

    def __init__(self, pixels: Any, order: Sequence[int]):
        self._pixels, self._order = pixels, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._pixels[self._order[index]]


def _window_indices(clip: np.ndarray, window_clips: np.ndarray) -> np.ndarray:
    """Renumber clips to index those of a window.

    Steps outside the window get arbitrary valid indices.
    """
    return np.minimum(np.searchsorted(window_clips, clip), len(window_clips) - 1).astype(np.int32)


def _plan_windows(
    by_device: Sequence[Batch], first: int, stop: int, clips_per_device: int
) -> Iterator[WindowPlan]:
    """Divide steps into windows, each as long as the room allows."""
    need: list[set[int]] = [set() for _ in by_device]
    began = first
    for step in range(first, stop):
        more = [set(part.clip[:, step][part.mask[:, step]].tolist()) for part in by_device]
        together = [old | new for old, new in zip(need, more)]
        if max(map(len, together)) > clips_per_device and step > began:
            yield WindowPlan(began, step, [_sorted_clips(clips) for clips in need])
            began, together = step, more
        need = together
    if stop > first:
        yield WindowPlan(began, stop, [_sorted_clips(clips) for clips in need])


def _sorted_clips(clips: set[int]) -> np.ndarray:
    """Sort clips; return clip 0 where there is none, so that every slot has a place."""
    return np.array(sorted(clips) or [0])
