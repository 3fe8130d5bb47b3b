"""The command that asks a trained model: `python -m mser_jax.predict MODEL VIDEO [VIDEO ...]`.

MODEL is a folder that `python -m mser_jax.export` has made, VIDEO a video file, a folder of frames,
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
    """Ask the model about each video, and print what it answers."""
    flags = _parser().parse_args(arguments)
    return command.run_and_get_status(lambda: _predict(flags))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mser_jax.predict", description=__doc__)
    parser.add_argument("model", type=Path, help="folder of an exported model")
    parser.add_argument("videos", nargs="+", metavar="video", help="file, folder or pattern")
    parser.add_argument(
        "--out", type=Path, default=Path("answers"), help="folder of the answers (answers/)"
    )
    for name, what in (("onset", "first frame"), ("apex", "peak"), ("offset", "last frame")):
        parser.add_argument(
            f"--{name}",
            type=int,
            help=f"number of the {what} of the one movement that is there; without any mark "
            "movements are spotted",
        )
    parser.add_argument("--fps", type=float, help="frames a second; a folder does not say it")
    parser.add_argument(
        "--landmarks", type=Path, help="68 lines 'x,y' of the face in the first (or onset) frame"
    )
    parser.add_argument("--film", action="store_true", help="an MP4 with the answers drawn in")
    parser.add_argument(
        "--reasons",
        action="store_true",
        help="a page for each movement: what the network looked at",
    )
    parser.add_argument("--no-faces", action="store_true", help="leave the face out of these pages")
    return parser


def _predict(flags: argparse.Namespace) -> None:
    paths = _expand_videos(flags.videos)
    marks = (flags.onset, flags.apex, flags.offset)
    if len(paths) > 1 and (marks != (None, None, None) or flags.landmarks):
        raise UserError(
            f"--onset, --apex, --offset and --landmarks are of one video, but {len(paths)} are "
            "given. Fix: one command for each."
        )
    # Here, so that a mistake above is answered at once.
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
    """Ask about each video; one that cannot be answered leaves the others."""
    from data_prep.pipeline.video_source import MarkedVideo
    from mser_jax.predict import answer_files
    from mser_jax.predict.video import CSV, Request, answer_video
    from mser_jax.predict.views import text as answer_text
    from mser_jax.report.wording import WARNING, pluralize

    marks = (flags.onset, flags.apex, flags.offset)
    landmarks = flags.landmarks and command.expand_path(flags.landmarks)
    answers: list[VideoAnswer] = []
    faults: list[Path] = []
    for path, place in _answer_folders(paths, out, marks).items():
        video = MarkedVideo(path, *marks, fps=flags.fps, landmarks=landmarks)
        request = Request(video, film=flags.film, reasons=flags.reasons, faces=not flags.no_faces)
        try:
            result, reused = answer_video(model, request, place, _bar)
        except (UserError, OSError) as error:
            if len(paths) == 1:
                raise
            faults.append(path)
            print(f"\n{error}", file=sys.stderr)
            continue
        answers.append(result)
        print(f"\n{answer_text.text_table(result)}\n{'Reused' * reused or 'In'} {place}")
    if answers:
        answer_files.write_csv(out / CSV, answers)
        print(f"\n{pluralize(len(answers), 'video')} in {out / CSV}\n{textwrap.fill(WARNING, 79)}")
    if faults:
        raise UserError(
            f"{len(faults)} of {len(paths)} videos have no answer; the reasons stand above."
        )


def _expand_videos(videos: Iterable[str]) -> list[Path]:
    """The videos that are meant: of a pattern all that match, of a folder of videos all in it."""
    paths: list[Path] = []
    for video in videos:
        path = command.expand_path(video)
        if glob.has_magic(video) and not path.exists():
            matched = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
            matched = [inner for each in matched for inner in _iter_videos(each)]
            if not matched:
                raise UserError(f"{video}: no video matches this pattern. Correct it.")
            paths += matched
        else:
            paths += _require_videos(path)
    return list({path.resolve(): path for path in paths}.values())


def _require_videos(path: Path) -> list[Path]:
    """What a path stands for that was given by its name."""
    if not (found := [*_iter_videos(path)]):
        raise UserError(f"{path}: neither videos nor numbered frames are in it.")
    return found


def _iter_videos(path: Path) -> Iterator[Path]:
    """A folder of frames is a video; one of videos stands for those in it."""
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
    """A folder for each video: its name, with more of its path where others have that too.

    Args:
      paths: of the videos.
      out: where the folders are.
      marks: of the one movement that is asked about; its folder is not that of the whole video.
    """
    from mser_jax.predict.video import belongs_to_another_video

    named = zip(("onset", "apex", "offset"), marks)
    given = "".join(f"-{name}{mark}" for name, mark in named if mark is not None)
    places: dict[Path, Path] = {}
    for path in paths:
        for depth in range(len(path.resolve().parts) + 1):
            name = _folder_name(path, depth)
            place = out / f"{name}{given}"
            alone = sum(_folder_name(other, depth) == name for other in paths) == 1
            if alone and not belongs_to_another_video(place, path):
                places[path] = place
                break
        else:
            raise UserError(f"{place} has the answers of another video. Give another --out.")
    return places


def _folder_name(path: Path, depth: int) -> str:
    """The video's own name; deeper, that of its folder before it, its suffix, more folders."""
    whole = path.resolve()
    stem = whole.stem if whole.is_file() else whole.name
    if depth < 2:
        return "-".join([*whole.parts[1:-1][-1:] * depth, stem])
    return "-".join([*whole.parts[1:-1][1 - depth :], whole.name])


def _bar(items: Iterable[Any], total: int | None, title: str) -> Iterable[Any]:
    short = title if len(title) <= 24 else f"{title[:21]}..."
    return progress.bar(items, short, total, "frame")


if __name__ == "__main__":
    sys.exit(main())
