"""A source with one clip: a single video with the marks given by the user."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.clip import Clip, Frames
from data_prep.common import progress
from data_prep.common.errors import UserError
from data_prep.stages import landmarks
from data_prep.video.frames import marks_to_indices, open_frames, resolve_fps

MAX_FRAMES = 4000  # Frames in memory at once, including those around the marks.
LONG_SECONDS = 1.0  # s; a micro-expression lasts half a second at most.


@dataclasses.dataclass(frozen=True)
class MarkedVideo:
    """A video with the user's marks, as frame numbers.

    The first frame of a video file has the number 0. A frame in a folder has the number in its file
    name.

    Attributes:
      path: Video file, or folder of frames.
      onset: Onset; None means the first frame.
      apex: Apex; None means unknown.
      offset: Offset; None means the last frame.
      fps: Frames per second; None means the rate stated by the file.
      landmarks: File of the onset frame's landmarks (`landmarks.read`), or None.
    """

    path: Path
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    fps: float | None = None
    landmarks: Path | None = None

    name = key = ""  # Fields of an `Entry`; a single video is not cached.


class VideoSource:
    """A source of one clip without a class.

    Of a long video it loads only the marked frames and, around them, the seconds that a band-pass
    needs: one period of its lowest frequency.
    """

    name = "video"
    class_names = ("unknown",)

    def __init__(self, video: MarkedVideo, context_seconds: float):
        """Create a source.

        Args:
          video: The video.
          context_seconds: Seconds to load before the onset and after the offset.
        """
        self._video, self._context_seconds = video, context_seconds

    def entries(self) -> list[MarkedVideo]:
        """Return the video, the only entry."""
        return [self._video]

    def load(self, entry: MarkedVideo) -> Clip:
        """Return the clip. Its frames are read when they are accessed.

        Raises:
          UserError: The video, its marks, frame rate or landmarks cannot be used.
        """
        last_marked = (entry.onset or 0) if entry.offset is None else entry.offset
        frames = open_frames(entry.path, stop=last_marked + MAX_FRAMES + 1)
        onset, apex, offset = marks_to_indices(
            frames.numbers,
            entry.onset,
            entry.apex,
            entry.offset,
            source=entry.path,
            remedy="Fix: correct --onset, --apex or --offset.",
        )
        count = offset - onset + 1
        if count > MAX_FRAMES:
            raise UserError(
                f"{entry.path}: more than {MAX_FRAMES} frames from onset to offset. Fix: give the "
                "frames where the movement begins and ends, as in --onset=120 --offset=180."
            )
        fps = resolve_fps(entry.path, entry.fps, frames.fps)
        context = min(math.ceil(self._context_seconds * fps), (MAX_FRAMES - count) // 2)
        start = max(0, onset - context)
        selected = frames.part(start, offset + context + 1)
        return Clip(
            frames=_FramesWithProgress(selected),
            fps=fps,
            onset=onset - start,
            apex=None if apex is None else apex - start,
            offset=offset - start,
            subject=entry.path.resolve().parent.name or "unknown",
            clip_id=entry.path.stem,
            label="unknown",
            emotion="unknown",
            dataset=self.name,
            landmarks=landmarks.read(entry.landmarks, onset) if entry.landmarks else None,
            first=frames.numbers[onset] - (onset - start),
            notes=(*frames.notes, *_length_notes(entry, (offset - onset) / fps)),
        )


def _length_notes(video: MarkedVideo, seconds: float) -> list[str]:
    if seconds <= LONG_SECONDS or None not in (video.onset, video.offset):
        return []
    return [
        f"{seconds:.1f} s are taken as one movement because onset and offset are not both given. A "
        "micro-expression lasts half a second at most."
    ]


class _FramesWithProgress:
    """Frames that show a progress bar while they are iterated, if that takes a while."""

    def __init__(self, frames: Frames):
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._frames[index]

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from progress.bar(
            self._frames, "Cropping", len(self), "frame", delay=1.0, leave=False
        )
