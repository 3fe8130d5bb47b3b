"""Feeds, which put the clips of the next steps on the devices. `Resident` puts all clips there.

`stream.Streamed` is the other feed, for clips that do not fit.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from jax.sharding import Mesh

from mser_jax import parallel
from mser_jax.data.augment import Clips
from mser_jax.data.schedule import Batch


class Window(NamedTuple):
    """Steps of a schedule whose clips are on the devices.

    Attributes:
      first: First step.
      stop: Step after the last one.
      schedule: Batches `[slot, step, b]`, on the devices; their clips are indices into `clips`.
      clips: Clips, on the devices.
    """

    first: int
    stop: int
    schedule: Batch
    clips: Clips


class Feed(Protocol):
    """Source of clips on the devices."""

    streamed: bool  # whether each device gets clips of its own

    def windows(self, schedule: Batch, first: int, stop: int) -> Iterator[Window]:
        """Yield windows that cover the steps from `first` to `stop`, in order."""
        ...


class Resident:
    """Feed that holds all clips on every device."""

    streamed = False

    def __init__(self, clips: Clips, mesh: Mesh):
        self._mesh = mesh
        self._clips = parallel.replicate(clips, mesh)

    def windows(self, schedule: Batch, first: int, stop: int) -> Iterator[Window]:
        """Yield one window."""
        yield Window(first, stop, parallel.shard(schedule, self._mesh), self._clips)
