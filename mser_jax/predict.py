"""The command that asks a trained model: `python -m mser_jax.predict MODEL VIDEO [VIDEO ...]`.

MODEL is a folder that `python -m mser_jax.export` has made, VIDEO a video file, a folder of frames,
a folder of videos, or a pattern such as 'videos/*.mp4'.
"""

from __future__ import annotations

import argparse
import glob
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tqdm

from data_prep import command, frames
from data_prep.errors import UserError

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the model about each video, and say what it found."""
    asked = _parser().parse_args(arguments)
    return command.ended(lambda: _predict(asked))


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


def _predict(asked: argparse.Namespace) -> None:
    paths = _expanded(asked.videos)
    marks = (asked.onset, asked.apex, asked.offset)
    if len(paths) > 1 and (marks != (None, None, None) or asked.landmarks):
        raise UserError(
            f"--onset, --apex, --offset and --landmarks are of one video, but {len(paths)} are "
            "given. Remedy: one command for each."
        )
    # Here, so that a mistake above is answered at once.
    from mser_jax import answer_files, answer_text, compiled, trained
    from mser_jax.answers import VideoAnswer
    from mser_jax.asked import Asked
    from mser_jax.asking import CSV, answer
    from mser_jax.wording import WARNING, many

    compiled.keep_programs()
    model = trained.Model.read(asked.model)
    model.refuse_images()
    out = asked.out.expanduser()
    found: list[VideoAnswer] = []
    faults: list[Path] = []
    for path, place in _places(paths, out).items():
        wish = Asked(
            path,
            *marks,
            fps=asked.fps,
            landmarks=asked.landmarks and asked.landmarks.expanduser(),
            film=asked.film,
            reasons=asked.reasons,
            faces=not asked.no_faces,
        )
        try:
            said, reused = answer(model, wish, place, _bar)
        except UserError as error:
            if len(paths) == 1:
                raise
            faults.append(path)
            print(f"\n{error}", file=sys.stderr)
            continue
        found.append(said)
        print(f"\n{answer_text.text_table(said)}\n{'Reused' * reused or 'In'} {place}")
    if found:
        answer_files.write_csv(out / CSV, found)
        print(f"\n{many(len(found), 'video')} in {out / CSV}\n{textwrap.fill(WARNING, 79)}")
    if faults:
        raise UserError(
            f"{len(faults)} of {len(paths)} videos have no answer; the reasons stand above."
        )


def _expanded(videos: Iterable[str]) -> list[Path]:
    """The videos that are meant: of a pattern all that match, of a folder of videos all in it."""
    paths: list[Path] = []
    for video in videos:
        path = Path(video).expanduser()
        if not path.exists() and glob.has_magic(video):
            matched = sorted(glob.glob(str(path), recursive=True))
            if not matched:
                raise UserError(f"{video}: nothing matches this pattern. Correct it.")
            paths += map(Path, matched)
        else:
            paths.append(path)
    return list(dict.fromkeys(inner for path in paths for inner in _within(path)))


def _within(path: Path) -> Iterator[Path]:
    """A folder of frames is a video; one without frames stands for the videos in it."""
    if path.is_dir() and not any(
        frames.frame_number(file.name) is not None for file in path.iterdir()
    ):
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEOS)
        if not inside:
            raise UserError(f"{path}: neither videos nor numbered frames are in it.")
        yield from inside
    else:
        yield path


def _places(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """A folder for each video, by its name; with those of its folders where two have one name."""
    names = {path: path.stem if path.is_file() else path.resolve().name for path in paths}
    for path, name in list(names.items()):
        if [*names.values()].count(name) > 1:
            names[path] = "-".join([*path.resolve().parts[1:-1], path.name])
    return {path: out / name for path, name in names.items()}


def _bar(items: Iterable[Any], total: int | None, title: str) -> Iterable[Any]:
    return tqdm.tqdm(
        items,
        title[-24:],
        total,
        unit="frame",
        ncols=min(79, shutil.get_terminal_size().columns - 1),
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
    )


if __name__ == "__main__":
    sys.exit(main())
