"""Feed for clips that do not fit on a device: grain reads them while the devices compute."""

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
      first: First step.
      stop: Step after the last one.
      clips: Clips that the folds of each device need, in rising order.
    """

    first: int
    stop: int
    clips: list[np.ndarray]


class Streamed:
    """Feed in which each device holds the clips that its folds need next.

    A window has as many steps as need at most `clips_per_device` different clips on any device. The
    clips of the next window are read in the meantime.

    Args:
      clips: Clips; `pixels` may be any object that returns a clip for an index.
      mesh: Mesh of the devices.
      clips_per_device: Number of clips of a window that a device holds, at least those of one step.
    """

    streamed = True

    def __init__(self, clips: Clips, mesh: Mesh, clips_per_device: int):
        self._clips, self._mesh, self._clips_per_device = clips, mesh, clips_per_device

    def windows(self, schedule: Batch, first: int, stop: int) -> Iterator[Window]:
        """Yield the windows that cover the steps from `first` to `stop`, in order."""
        devices = self._mesh.devices.size
        by_device = [
            Batch(*leaves) for leaves in zip(*(np.split(leaf, devices) for leaf in schedule))
        ]
        plans = list(_plan_windows(by_device, first, stop, self._clips_per_device))
        pixels = self._read_pixels(
            [clip for plan in plans for clips in self._local_clips(plan) for clip in clips]
        )
        for plan in plans:
            indices = [
                _window_indices(batch.clip, clips) for batch, clips in zip(by_device, plan.clips)
            ]
            window_schedule = schedule._replace(clip=np.concatenate(indices))
            yield Window(
                plan.first,
                plan.stop,
                parallel.shard(window_schedule, self._mesh),
                self._device_clips(plan, pixels),
            )

    def _local_clips(self, plan: WindowPlan) -> list[np.ndarray]:
        """Return the clips needed by the devices of this process."""
        process = jax.process_index()
        return [
            clips
            for clips, device in zip(plan.clips, self._mesh.devices)
            if device.process_index == process
        ]

    def _read_pixels(self, order: Sequence[int]) -> Iterator[np.ndarray]:
        options = grain.ReadOptions(
            num_threads=THREADS, prefetch_buffer_size=max(1, self._clips_per_device)
        )
        source = _OrderedPixels(self._clips.pixels, order)
        return iter(grain.MapDataset.source(source).to_iter_dataset(options))

    def _device_clips(self, plan: WindowPlan, pixels: Iterator[np.ndarray]) -> Clips:
        """Read the clips of a window, `[device * clips_per_device, ...]`.

        Unused places are zero.
        """
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
            for index in range(len(clips)):
                part.pixels[index] = next(pixels)
            part.scale[: len(clips)] = self._clips.scale[clips]
            part.labels[: len(clips)] = self._clips.labels[clips]
            parts.append(part)
        sharding = NamedSharding(self._mesh, PartitionSpec(parallel.AXIS))
        return jax.tree.map(
            lambda *leaves: jax.make_array_from_process_local_data(
                sharding, np.concatenate(leaves)
            ),
            *parts,
        )


class _OrderedPixels:
    """Source for grain: the clips in the order in which they are needed."""

    def __init__(self, pixels: Any, order: Sequence[int]):
        self._pixels, self._order = pixels, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._pixels[self._order[index]]


def _window_indices(clip: np.ndarray, window_clips: np.ndarray) -> np.ndarray:
    """Convert indices of clips to indices into the clips of a window.

    Steps outside the window get arbitrary valid indices.
    """
    return np.minimum(np.searchsorted(window_clips, clip), len(window_clips) - 1).astype(np.int32)


def _plan_windows(
    by_device: Sequence[Batch], first: int, stop: int, clips_per_device: int
) -> Iterator[WindowPlan]:
    """Divide steps into windows, each as long as `clips_per_device` allows."""
    window_clips: list[set[int]] = [set() for _ in by_device]
    start = first
    for step in range(first, stop):
        step_clips = [set(batch.clip[:, step][batch.mask[:, step]].tolist()) for batch in by_device]
        extended = [old | new for old, new in zip(window_clips, step_clips)]
        if max(map(len, extended)) > clips_per_device and step > start:
            yield WindowPlan(start, step, [_sorted_clips(clips) for clips in window_clips])
            start, extended = step, step_clips
        window_clips = extended
    if stop > first:
        yield WindowPlan(start, stop, [_sorted_clips(clips) for clips in window_clips])


def _sorted_clips(clips: set[int]) -> np.ndarray:
    """Sort clips; return clip 0 if there is none, so that empty slots have an index."""
    return np.array(sorted(clips) or [0])
