"""Converts face videos to optical flow and shards of it. Imports nothing of `mser_jax`.

The TV-L1 flow of two images:

>>> import numpy as np
>>> from data_prep import tvl1
>>> flow = tvl1(first, second)  # [h, w, 2]: (u right, v down) in pixels
>>> print(np.round(np.median(flow, axis=(0, 1)), 1))
[ 1. -2.]

The other names: `Clip` (the data that passes through the stages), `magnify` (Eulerian magnification
of a clip), `align` (the transform that levels a face by its 68 landmarks), `Watcher` (follows a
face through a video and spots movements), `load_shards` (opens a prepared set).
"""

from typing import TYPE_CHECKING

from data_prep.common import lazy

if TYPE_CHECKING:
    from data_prep.clip import Clip
    from data_prep.shards.dataset import load_shards
    from data_prep.spotting.watcher import Watcher
    from data_prep.stages.face import align
    from data_prep.stages.flow import tvl1
    from data_prep.stages.magnify import magnify

__all__ = ["Clip", "Watcher", "align", "load_shards", "magnify", "tvl1"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Clip": "data_prep.clip",
        "Watcher": "data_prep.spotting.watcher",
        "align": "data_prep.stages.face",
        "load_shards": "data_prep.shards.dataset",
        "magnify": "data_prep.stages.magnify",
        "tvl1": "data_prep.stages.flow",
    },
)
