"""The clips that the next steps need, on the devices: all of them, once and for ever.

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
      first: the first step.
      stop: the one after the last.
      schedule: batches `[slot, step, b]`, on the devices; their clips are indices into `clips`.
      clips: on the devices.
    """

    first: int
    stop: int
    schedule: Batch
    clips: Clips


class Feed(Protocol):
    """What hands out the clips."""

    streamed: bool  # whether each device gets clips of its own

    def windows(self, schedule: Batch, first: int, stop: int) -> Iterator[Window]:
        """Yield windows that cover the steps from `first` to `stop`, in order."""
        ...


class Resident:
    """All clips on every device."""

    streamed = False

    def __init__(self, clips: Clips, mesh: Mesh):
        self._mesh = mesh
        self._clips = parallel.replicate(clips, mesh)

    def windows(self, schedule: Batch, first: int, stop: int) -> Iterator[Window]:
        """Yield one window."""
        yield Window(first, stop, parallel.shard(schedule, self._mesh), self._clips)
