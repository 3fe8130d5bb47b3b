"""`--check`: lists what a release contains and everything that is missing, in one run.

Nothing is written. The check lists the files and their sizes. Of a clip's frames it reads only the
first, and those whose files are much smaller than the others.
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

from data_prep import class_map
from data_prep import config as configs
from data_prep.clip import Clip
from data_prep.common import terminal
from data_prep.common.errors import UserError
from data_prep.datasets import registry
from data_prep.datasets.base import repairs
from data_prep.datasets.base.source import ImageSource, Listing, Source, listing
from data_prep.pipeline.prepare import check_landmarks
from data_prep.stages import landmarks
from data_prep.video.pictures import Images

WIDTH = 79
SMALL = 0.5  # Share of the median file size of a clip; a smaller file may be truncated and is read.

PrintLine = Callable[[str], None]
ClipMessage = tuple[str, str]  # What is wrong, and the clip.
Fault = tuple[str, str, str]  # What is wrong, the clip, and the file or ''.


@dataclasses.dataclass(frozen=True)
class _SourceReport:
    """The result of checking one source.

    Attributes:
      complete: True if everything that the source names exists.
      entries: Clips of the source.
      left_out: Number of rows left out.
    """

    complete: bool = False
    entries: Sequence[Any] = ()
    left_out: int = 0


def check(config: Any, print_line: PrintLine = print) -> None:
    """Print what a configuration's release contains and all that is missing.

    Args:
      config: Configuration with the sections `data`, `prep` and, for synthetic clips, `synthetic`.
      print_line: Called with the lines.

    Raises:
      UserError: Something is missing or damaged. Repairs, rows left out, and deviations from the
        stated counts are no errors.
    """
    configs.validate(config)
    config = config.copy_and_resolve_references()
    has_landmarks = _check_landmarks(config, print_line)
    parts = registry.part_configs(config)
    if len(parts) > 1:
        registry.class_names(config)  # Raises if the parts differ in their classes.
    reports = [_check_source(part, print_line) for part in parts]
    if not (has_landmarks and all(part.complete for part in reports)):
        raise UserError(
            "The release cannot be used as it is. Fix: add what is missing, listed above."
        )
    _check_training(config, [entry for part in reports for entry in part.entries])
    rows = sum(part.left_out for part in reports)
    print_line(f"\nThe release can be used as it is{f' (rows left out: {rows})' if rows else ''}.")


def _check_training(config: Any, entries: Sequence[Any]) -> None:
    """Raise UserError if a class has no clip or there is only one subject."""
    absent = {*registry.class_names(config)} - {entry.label for entry in entries}
    lacks = [f"no clip of class {name}" for name in sorted(absent)]
    if len({_subject(entry) for entry in entries}) < 2:
        lacks.append("clips of one subject only")
    if lacks:
        raise UserError(
            f"The release can be prepared but not trained on: {', '.join(lacks)}. Fix: choose "
            "other classes (--config.data.classes), or add more of the release."
        )


def _check_landmarks(config: Any, print_line: PrintLine) -> bool:
    """Return whether the faces' landmarks are available; print what is missing.

    If the folder of landmarks does not exist, it is removed from `config`.
    """
    if configs.is_images(config.prep):
        return True
    try:
        landmarks.resolve_folder(config.data.landmarks_dir)
    except UserError as error:
        _print_missing("landmarks", error, print_line)
        config.data.landmarks_dir = ""  # Otherwise the source could not be created and reported on.
        return False
    try:
        check_landmarks(config)
    except UserError as error:
        _print_missing("landmarks", error, print_line)
        return False
    return True


def _check_source(config: Any, print_line: PrintLine) -> _SourceReport:
    """Print what a source contains and what is missing; return the report."""
    try:
        source = registry.source(config)
        entries = source.entries()
    except UserError as error:
        _print_missing(config.data.dataset, error, print_line)
        return _SourceReport()
    release_listing = listing(source)
    # Synthetic clips have no files, and images are all read when they are listed.
    fully_read = config.data.dataset == "synthetic" or isinstance(source, ImageSource)
    faults, notes = ([], []) if fully_read else _inspect(source, entries)
    print_line("\n".join([f"\n{source.name}", *_fact_lines(config.data, release_listing), ""]))
    print_line("\n".join(_class_lines(source, entries, release_listing)))
    _print_table("Missing or damaged:", faults, print_line)
    _print_table("Incomplete, but used as it is:", notes, print_line)
    if release_listing.repairs:
        print_line(
            "\n".join(["\nRepaired or left out:", *repairs.table(release_listing.repairs, WIDTH)])
        )
    if not entries:
        print_line("\nMissing: no clip can be used.")
    left_out = sum(repairs.count_dropped(release_listing.repairs).values())
    return _SourceReport(bool(entries) and not faults, entries, left_out)


def _inspect(source: Source, entries: Iterable[Any]) -> tuple[list[ClipMessage], list[ClipMessage]]:
    """Return the faults that keep clips from being prepared, and other notes."""
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
    """Append a UserError of the block to `faults` instead of raising it.

    The message begins with the file, which becomes the last item of the fault.
    """
    try:
        yield
    except UserError as error:
        file, _, message = str(error).partition(": ")
        faults.append((message.rstrip("."), clip, Path(file).name) if message else (file, clip, ""))


def _group_by_clip(faults: Iterable[Fault]) -> list[ClipMessage]:
    """Merge equal faults of a clip into one, which names a file and a count."""
    files: dict[ClipMessage, list[str]] = {}
    for message, clip, file in faults:
        files.setdefault((message, clip), []).append(file)
    return [(message, _format_clip(clip, names)) for (message, clip), names in files.items()]


def _format_clip(clip: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{clip} ({names[0]}{more})" if names[0] else clip


def _suspect_frames(clip: Clip) -> list[int]:
    """Return the frames to read: the first, and those in unusually small files."""
    if not isinstance(clip.frames, Images):
        return [0]
    files = clip.frames.files  # A link may be broken; its size counts as 0.
    sizes = [path.stat().st_size if path.is_file() else 0 for path in files]
    min_size = SMALL * statistics.median(sizes)
    return [index for index, size in enumerate(sizes) if index == 0 or size < min_size]


def _notes(clip: Clip, name: str) -> list[ClipMessage]:
    if not isinstance(clip.frames, Images):
        return [(note, name) for note in clip.notes]
    if not clip.frames.missing_count:
        return []
    return [
        ("numbers of frames are absent between others", f"{name} ({clip.frames.missing_count})")
    ]


def _fact_lines(data: Any, release_listing: Listing) -> list[str]:
    """Format the folders and the sheet that were read."""
    folders = {"folder": data.manual_dir, "landmarks": data.get("landmarks_dir", "")}
    facts = folders | {
        name: fact for name, fact in release_listing.facts.items() if name != "sheet_sha256"
    }
    lines = {name: f"  {name:<11}{fact}" for name, fact in facts.items() if fact}
    if class_map.is_text(facts.get("classes", "")):  # A map of the user's own may be long.
        lines["classes"] = _fit(lines["classes"], indent=" " * 13)
    return [*lines.values()]


def _class_lines(source: Source, entries: Sequence[Any], release_listing: Listing) -> list[str]:
    """Format clips and subjects per class, beside the published number of clips."""
    clips = Counter(entry.label for entry in entries)
    class_subjects = {(entry.label, _subject(entry)) for entry in entries}
    subjects = Counter(label for label, _ in class_subjects)
    rows = [
        (name, clips[name], subjects[name], _stated_count(release_listing, name))
        for name in source.class_names
    ]
    total = len({subject for _, subject in class_subjects})
    rows.append(("all", len(entries), total, sum(release_listing.stated.values())))
    columns = 4 if release_listing.stated else 3
    header = ("class", "clips", "subjects", "stated")[:columns]
    text = terminal.table(header, [[*map(str, row[:columns])] for row in rows])
    if release_listing.stated:
        text += f"\nstated: {release_listing.source}"
    return textwrap.indent(text, "  ").splitlines()


def _stated_count(release_listing: Listing, name: str) -> int | str:
    """Return the published clips of a class, summed over databases, or ''."""
    counts = [
        count for key, count in release_listing.stated.items() if key.rpartition("/")[2] == name
    ]
    return sum(counts) if counts else ""


def _subject(entry: Any) -> str:
    dataset, subject, _ = entry.name.split("/", 2)
    return f"{dataset}/{subject}"


def _print_table(title: str, messages: Sequence[ClipMessage], print_line: PrintLine) -> None:
    if messages:
        print_line("\n".join([f"\n{title}", *repairs.group_lines(messages, width=WIDTH)]))


def _print_missing(title: str, error: UserError, print_line: PrintLine) -> None:
    """Print what is missing, and wrap lines that are wider than the screen."""
    lines = [_fit(line) if len(line) > WIDTH else line for line in str(error).splitlines()]
    print_line("\n".join([f"\n{title}: missing\n", *lines]))


def _fit(line: str, indent: str | None = None) -> str:
    if indent is None:
        indent = line[: len(line) - len(line.lstrip())]
    fit = textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
    fit.subsequent_indent = indent
    return fit.fill(line)
