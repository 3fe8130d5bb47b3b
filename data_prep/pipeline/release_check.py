"""`--check`: what there is of a release, and everything of it that is missing, at once.

Nothing is written. Files are listed and weighed; of a clip's frames only the first is read, and
those that are much smaller than the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep import config as configs
from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.datasets import registry
from data_prep.datasets.base import repairs
from data_prep.datasets.base.source import ImageSource, Listing, Source, listing
from data_prep.pipeline.prepare import check_landmarks
from data_prep.stages import landmarks
from data_prep.video.pictures import Images

WIDTH = 79
SMALL = 0.5  # of the median of a clip's files: a smaller one may be cut short and is read

PrintLine = Callable[[str], None]
ClipMessage = tuple[str, str]  # what is wrong, with which clip
Fault = tuple[str, str, str]  # what is wrong, with which clip, in which file or ''


@dataclasses.dataclass(frozen=True)
class _SourceReport:
    """What there is of a source: whether all that it names is there, its clips, rows left out."""

    complete: bool = False
    entries: Sequence[Any] = ()
    left_out: int = 0


def check(config: Any, print_line: PrintLine = print) -> None:
    """Say what there is of the release that a configuration names, and all that is missing.

    Args:
      config: with the sections `data`, `prep` and, for synthetic clips, `synthetic`.
      print_line: takes the lines.

    Raises:
      UserError: something is missing or damaged. Repairs, rows that are left out and counts that
        deviate from those stated do not keep a release from being used.
    """
    configs.validate(config)
    config = config.copy_and_resolve_references()
    points = _check_landmarks(config, print_line)
    parts = registry.part_configs(config)
    if len(parts) > 1:
        registry.class_names(config)  # which all of them must have
    found = [_check_source(part, print_line) for part in parts]
    if not (points and all(part.complete for part in found)):
        raise UserError("It cannot be used as it is: what is missing stands above.")
    _check_training(config, [entry for part in found for entry in part.entries])
    rows = sum(part.left_out for part in found)
    print_line(f"\nIt can be used as it is{f' (rows left out: {rows})' if rows else ''}.")


def _check_training(config: Any, entries: Sequence[Any]) -> None:
    """Miss a class or a second subject here, rather than when all clips are prepared."""
    absent = {*registry.class_names(config)} - {entry.label for entry in entries}
    lacks = [f"no clip of class {name}" for name in sorted(absent)]
    if len({_subject(entry) for entry in entries}) < 2:
        lacks.append("clips of one subject only")
    if lacks:
        raise UserError(
            f"It can be prepared, but not trained on: {', '.join(lacks)}. Fix: other classes "
            "(--config.data.classes), or more of the release."
        )


def _check_landmarks(config: Any, print_line: PrintLine) -> bool:
    """Whether the faces' landmarks can be had; a wrong folder is then taken out of `config`."""
    if configs.is_images(config.prep):
        return True
    try:
        landmarks.resolve_folder(config.data.landmarks_dir)
    except UserError as error:
        _print_missing("landmarks", error, print_line)
        config.data.landmarks_dir = ""  # or the source could not be made, and nothing be said of it
        return False
    try:
        check_landmarks(config)
    except UserError as error:
        _print_missing("landmarks", error, print_line)
        return False
    return True


def _check_source(config: Any, print_line: PrintLine) -> _SourceReport:
    """Say what there is of a source."""
    try:
        source = registry.source(config)
        entries = source.entries()
    except UserError as error:
        _print_missing(config.data.dataset, error, print_line)
        return _SourceReport()
    found = listing(source)
    whole = config.data.dataset == "synthetic" or isinstance(
        source, ImageSource
    )  # all of it is read
    faults, notes = ([], []) if whole else _inspect(source, entries)
    print_line("\n".join([f"\n{source.name}", *_fact_lines(config.data, found), ""]))
    print_line("\n".join(_class_lines(source, entries, found)))
    _print_table("Missing or damaged:", faults, print_line)
    _print_table("Not complete, and used as it is:", notes, print_line)
    if found.repairs:
        print_line("\n".join(["\nRepaired or left out:", *repairs.table(found.repairs, WIDTH)]))
    if not entries:
        print_line("\nMissing: not one clip can be used.")
    left_out = sum(repairs.count_dropped(found.repairs).values())
    return _SourceReport(bool(entries) and not faults, entries, left_out)


def _inspect(source: Source, entries: Iterable[Any]) -> tuple[list[ClipMessage], list[ClipMessage]]:
    """What keeps clips from being prepared, and what else there is to know of them."""
    faults: list[Fault] = []
    notes: list[ClipMessage] = []
    for entry in entries:
        name = entry.name.partition("/")[2]
        with _collect_faults(faults, name):
            clip = source.load(entry)
            notes += _notes(clip, name)
            for index in _suspect_frames(clip):
                with _collect_faults(faults, name):
                    clip.frames[index]
    return _group_by_clip(faults), notes


@contextlib.contextmanager
def _collect_faults(faults: list[Fault], clip: str) -> Iterator[None]:
    """Keep what is wrong with a file, which the message names first, under the clip's name."""
    try:
        yield
    except UserError as error:
        file, _, what = str(error).partition(": ")
        faults.append((what.rstrip("."), clip, Path(file).name) if what else (file, clip, ""))


def _group_by_clip(faults: Iterable[Fault]) -> list[ClipMessage]:
    """A fault of many files of a clip once: the first of them, and how many more."""
    files: dict[ClipMessage, list[str]] = {}
    for what, clip, file in faults:
        files.setdefault((what, clip), []).append(file)
    return [(what, _format_clip(clip, names)) for (what, clip), names in files.items()]


def _format_clip(clip: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{clip} ({names[0]}{more})" if names[0] else clip


def _suspect_frames(clip: Clip) -> list[int]:
    """The frames that are read: the first, and those in files that are strangely small."""
    if not isinstance(clip.frames, Images):
        return [0]
    files = clip.frames.files  # a link may lead nowhere
    sizes = [path.stat().st_size if path.is_file() else 0 for path in files]
    least = SMALL * statistics.median(sizes)
    return [index for index, size in enumerate(sizes) if index == 0 or size < least]


def _notes(clip: Clip, name: str) -> list[ClipMessage]:
    if not isinstance(clip.frames, Images):
        return [(note, name) for note in clip.notes]
    if not clip.frames.missing_count:
        return []
    return [
        ("numbers of frames are absent between others", f"{name} ({clip.frames.missing_count})")
    ]


def _fact_lines(data: Any, release_listing: Listing) -> list[str]:
    """What was read: the folders, the sheet."""
    given = {"folder": data.manual_dir, "landmarks": data.get("landmarks_dir", "")}
    facts = given | {
        name: fact for name, fact in release_listing.facts.items() if name != "sheet_sha256"
    }
    return [f"  {name:<11}{fact}" for name, fact in facts.items() if fact]


def _class_lines(source: Source, entries: Sequence[Any], release_listing: Listing) -> list[str]:
    """Clips and subjects a class, beside the clips that are stated."""
    clips = Counter(entry.label for entry in entries)
    people = {(entry.label, _subject(entry)) for entry in entries}
    subjects = Counter(label for label, _ in people)
    rows = [(name, clips[name], subjects[name]) for name in source.class_names]
    rows.append(("all", len(entries), len({subject for _, subject in people})))
    lines = [f"  {'class':<12}{'clips':>6}{'subjects':>10}"]
    lines += [f"  {name:<12}{count:6d}{different:10d}" for name, count, different in rows]
    if not release_listing.stated:
        return lines
    stated = [_stated_count(release_listing, name) for name in source.class_names]
    column = ["stated", *stated, sum(release_listing.stated.values())]
    lines = [f"{line}{count:>8}" for line, count in zip(lines, column, strict=True)]
    return [*lines, f"  stated: {release_listing.source}"]


def _stated_count(release_listing: Listing, name: str) -> int | str:
    """Clips that a class is said to have, in all of the databases; '' where nobody says it."""
    counts = [
        n for stated, n in release_listing.stated.items() if stated.rpartition("/")[2] == name
    ]
    return sum(counts) if counts else ""


def _subject(entry: Any) -> str:
    dataset, subject, _ = entry.name.split("/", 2)
    return f"{dataset}/{subject}"


def _print_table(title: str, messages: Sequence[ClipMessage], print_line: PrintLine) -> None:
    if messages:
        print_line("\n".join([f"\n{title}", *repairs.group_lines(messages, width=WIDTH)]))


def _print_missing(title: str, error: UserError, print_line: PrintLine) -> None:
    """Say what is missing; the lines of a message that are longer than the screen are broken."""
    lines = [_fit(line) if len(line) > WIDTH else line for line in str(error).splitlines()]
    print_line("\n".join([f"\n{title}: missing\n", *lines]))


def _fit(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    fit = textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
    fit.subsequent_indent = indent
    return fit.fill(line)
