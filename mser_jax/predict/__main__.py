"""The command that classifies movements in videos: `python -m mser_jax.predict MODEL VIDEO ...`.

MODEL is a folder written by `python -m mser_jax.export`. VIDEO is a video file, a folder of frames,
a folder of videos, or a pattern such as 'videos/*.mp4'.
"""

from __future__ import annotations

import argparse
import glob
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.common import command, folders, progress
from data_prep.common.errors import UserError
from data_prep.video import pictures

if TYPE_CHECKING:
    from mser_jax.predict.answers import VideoAnswer
    from mser_jax.predict.model import Model

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    flags = _parser().parse_args(arguments)
    return command.run_and_get_status(lambda: _predict(flags))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mser_jax.predict", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of an exported model")
    parser.add_argument("videos", nargs="+", metavar="video", help="file, folder or pattern")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("answers"),
        help="folder of the answers (default: answers/)",
    )
    for name, frame in (("onset", "first frame"), ("apex", "peak"), ("offset", "last frame")):
        parser.add_argument(
            f"--{name}",
            type=int,
            help=f"number of the {frame} of a marked movement; without marks, movements are "
            "spotted",
        )
    parser.add_argument(
        "--fps", type=float, help="frames per second; needed for a folder of frames"
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        help="68 lines 'x,y': points of the face in the first (or onset) frame",
    )
    parser.add_argument(
        "--film", action="store_true", help="also write an MP4 with the answers drawn in"
    )
    parser.add_argument(
        "--reasons",
        action="store_true",
        help="also write a page for each movement: what the network looked at",
    )
    parser.add_argument("--no-faces", action="store_true", help="leave faces out of these pages")
    return parser


def _predict(flags: argparse.Namespace) -> None:
    paths = _expand_videos(flags.videos)
    marks = (flags.onset, flags.apex, flags.offset)
    if len(paths) > 1 and (marks != (None, None, None) or flags.landmarks):
        raise UserError(
            f"--onset, --apex, --offset and --landmarks describe one video, but {len(paths)} are "
            "given. Fix: run one command for each video."
        )
    # Imported here so that the error above is reported at once.
    from mser_jax import hosts
    from mser_jax.predict.model import Model

    hosts.use_compilation_cache()
    model = Model.read(flags.model)
    model.check_accepts_videos()
    out = command.expand_path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    with folders.lock(out, "another --out"):
        _answer_videos(flags, model, paths, out)


def _answer_videos(
    flags: argparse.Namespace, model: Model, paths: Sequence[Path], out: Path
) -> None:
    """Answer each video. A video that fails does not stop the others."""
    from data_prep.pipeline.video_source import MarkedVideo
    from mser_jax.predict import answer_files
    from mser_jax.predict.video import CSV, Request, answer_video
    from mser_jax.predict.views import text as answer_text
    from mser_jax.report.wording import WARNING, pluralize

    marks = (flags.onset, flags.apex, flags.offset)
    landmarks = flags.landmarks and command.expand_path(flags.landmarks)
    answers: list[VideoAnswer] = []
    failed: list[Path] = []
    for path, folder in _answer_folders(paths, out, marks).items():
        video = MarkedVideo(path, *marks, fps=flags.fps, landmarks=landmarks)
        request = Request(video, film=flags.film, reasons=flags.reasons, faces=not flags.no_faces)
        try:
            result, reused = answer_video(model, request, folder, _bar)
        except (UserError, OSError) as error:
            if len(paths) == 1:
                raise
            failed.append(path)
            print(f"\n{error}", file=sys.stderr)
            continue
        answers.append(result)
        print(f"\n{answer_text.text_table(result)}\n{'Reused' * reused or 'In'} {folder}")
    if answers:
        answer_files.write_csv(out / CSV, answers)
        print(f"\n{pluralize(len(answers), 'video')} in {out / CSV}\n{textwrap.fill(WARNING, 79)}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(paths)} videos have no answer. The reasons are above."
        )


def _expand_videos(videos: Iterable[str]) -> list[Path]:
    """List the videos that files, folders and patterns stand for, each once."""
    paths: list[Path] = []
    for video in videos:
        path = command.expand_path(video)
        if glob.has_magic(video) and not path.exists():
            matched = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
            matched = [video_path for match in matched for video_path in _iter_videos(match)]
            if not matched:
                raise UserError(
                    f"{video}: no video matches this pattern. Fix: correct the pattern."
                )
            paths += matched
        else:
            paths += _require_videos(path)
    return list({path.resolve(): path for path in paths}.values())


def _require_videos(path: Path) -> list[Path]:
    """List the videos at a path; raise UserError if there are none."""
    if not (videos := [*_iter_videos(path)]):
        raise UserError(f"{path}: the folder has neither videos nor numbered frames.")
    return videos


def _iter_videos(path: Path) -> Iterator[Path]:
    """Yield a file or a folder of frames as it is, and the videos of any other folder."""
    if not path.is_dir():
        yield path
        return
    files = sorted(path.iterdir())
    if sum(pictures.frame_number(file.name) is not None for file in files) > 1:
        yield path
    else:
        yield from (file for file in files if file.suffix.lower() in VIDEOS)


def _answer_folders(
    paths: Sequence[Path], out: Path, marks: Sequence[int | None]
) -> dict[Path, Path]:
    """Choose a folder for each video: its name, with more of its path if needed.

    Args:
      paths: Paths of the videos.
      out: Folder that contains the answer folders.
      marks: Onset, apex and offset of a marked movement. Its folder differs from that of the whole
        video.
    """
    from mser_jax.predict.video import belongs_to_another_video

    named_marks = zip(("onset", "apex", "offset"), marks)
    suffix = "".join(f"-{name}{mark}" for name, mark in named_marks if mark is not None)
    folders_of_videos: dict[Path, Path] = {}
    for path in paths:
        for depth in range(len(path.resolve().parts) + 1):
            name = _folder_name(path, depth)
            folder = out / f"{name}{suffix}"
            is_unique = sum(_folder_name(other, depth) == name for other in paths) == 1
            if is_unique and not belongs_to_another_video(folder, path):
                folders_of_videos[path] = folder
                break
        else:
            raise UserError(
                f"{folder}: the folder has the answers of another video. Fix: give another --out."
            )
    return folders_of_videos


def _folder_name(path: Path, depth: int) -> str:
    """Return the video's name, preceded by more of its path as `depth` grows."""
    full_path = path.resolve()
    stem = full_path.stem if full_path.is_file() else full_path.name
    if depth < 2:
        return "-".join([*full_path.parts[1:-1][-1:] * depth, stem])
    return "-".join([*full_path.parts[1:-1][1 - depth :], full_path.name])


def _bar(items: Iterable[Any], total: int | None, title: str) -> Iterable[Any]:
    short = title if len(title) <= 24 else f"{title[:21]}..."
    return progress.bar(items, short, total, "frame")


if __name__ == "__main__":
    sys.exit(main())
