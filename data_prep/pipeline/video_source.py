"""A single video, with what its user says of it, as a source of one clip."""

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

MAX_FRAMES = 4000  # frames that are held at once, those around the marks included
LONG_SECONDS = 1.0  # s; a micro-expression lasts half a second at most


@dataclasses.dataclass(frozen=True)
class MarkedVideo:
    """A video with what its user says of it; frames by their numbers.

    A video's first frame has the number 0, one of a folder that in its file's name.

    Attributes:
      path: of a video file, or of a folder of frames.
      onset: None is the first frame.
      apex: None is not known.
      offset: None is the last frame.
      fps: frames a second; None is what the file says.
      landmarks: file of the onset frame's landmarks (`landmarks.read`), or None.
    """

    path: Path
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    fps: float | None = None
    landmarks: Path | None = None

    name = key = ""  # of an entry: nothing of a single video is cached


class VideoSource:
    """A source of one clip, which has no class.

    Of a long video only the marked frames are taken, and around them the seconds that a band-pass
    needs: one period of its slowest movement.
    """

    name = "video"
    class_names = ("unknown",)

    def __init__(self, video: MarkedVideo, context_seconds: float):
        """Take `context_seconds` seconds before the onset and after the offset too."""
        self._video, self._context_seconds = video, context_seconds

    def entries(self) -> list[MarkedVideo]:
        """The one video."""
        return [self._video]

    def load(self, entry: MarkedVideo) -> Clip:
        """Find the frames, which are read when they are asked for, and the landmarks.

        Raises:
          UserError: the video, its marks, frame rate or landmarks cannot be used.
        """
        last = (entry.onset or 0) if entry.offset is None else entry.offset
        frames = open_frames(entry.path, stop=last + MAX_FRAMES + 1)
        onset, apex, offset = marks_to_indices(
            frames.numbers,
            entry.onset,
            entry.apex,
            entry.offset,
            source=entry.path,
            remedy="Correct --onset, --apex or --offset.",
        )
        count = offset - onset + 1
        if count > MAX_FRAMES:
            raise UserError(
                f"{entry.path}: more than {MAX_FRAMES} frames from onset to offset. Fix: say where "
                "the movement begins and ends, in frames: --onset=120 --offset=180."
            )
        fps = resolve_fps(entry.path, entry.fps, frames.fps)
        around = min(math.ceil(self._context_seconds * fps), (MAX_FRAMES - count) // 2)
        start = max(0, onset - around)
        kept = frames.part(start, offset + around + 1)
        return Clip(
            frames=_FramesWithProgress(kept),
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
        f"{seconds:.1f} s are taken as one movement, since no onset and offset are given; a "
        "micro-expression lasts half a second at most."
    ]


class _FramesWithProgress:
    """Frames that show how far they are when they are gone through, if that takes a while."""

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
