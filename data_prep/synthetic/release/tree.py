"""Trees of files in the layouts of the databases, with synthetic clips in place of people.

The databases are released under signed agreements, which takes time. Until then, the whole program
can run on a tree from here. The readers are tested on such trees: with `--traps` these contain the
faults of real releases.

    python -m data_prep.synthetic.release --layout=casme2 --out=TREE

The sheet names the classes of the synthetic clips by emotions of the database. An accuracy on such
a tree says nothing about the database.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_prep import config
from data_prep.common import check
from data_prep.common.errors import UserError
from data_prep.synthetic.clips import Spec
from data_prep.synthetic.release import images as synthetic_images
from data_prep.synthetic.release import takes
from data_prep.synthetic.release.layouts import LAYOUTS
from data_prep.synthetic.release.takes import CROPPED, Take
from data_prep.synthetic.release.traps import traps_of

COMPOSITE = ("smic", "casme2", "samm")  # MEGC 2019
IMAGES = "megc2019"  # The same three databases, as flow images.
NAMES = (*LAYOUTS, "composite", IMAGES)


@dataclasses.dataclass(frozen=True)
class TreeContents:
    """Contents of a tree; the name of a clip is `database/subject/clip`.

    Attributes:
      clips: Name -> emotion in the sheet, for the clips without a trap.
      traps: Trap -> names of the clips that have it, one per database.
      sheets: Files of the sheets.
    """

    clips: Mapping[str, str]
    traps: Mapping[str, tuple[str, ...]]
    sheets: tuple[Path, ...]

    @property
    def repeated_names(self) -> tuple[str, ...]:
        """Names in `clips` whose last part is also that of another subject's clip."""
        counts = Counter(Path(name).name for name in self.clips)
        return tuple(name for name in self.clips if counts[Path(name).name] > 1)


def write(
    layout: str,
    out: Path,
    *,
    subjects: int = 6,
    clips: int = 4,
    size: int = 96,
    seed: int = 0,
    traps: bool = False,
    release: str = "raw",
) -> TreeContents:
    """Write a tree; the same arguments give the same bytes.

    The landmarks of the faces are written beside the release, as `<subject>/<clip>.csv` for
    `config.data.landmarks_dir`: those of whole frames in `landmarks`, those of frames that are
    cropped to the face in `landmarks_cropped`.

    Args:
      layout: Database of `LAYOUTS`, 'composite' (SMIC, CASME II and SAMM, one folder each), or
        'megc2019' (one flow image per clip of these three, without landmarks).
      out: Output folder, which must be empty or not exist.
      subjects: Number of people in each database.
      clips: Number of clips per person; four of them show every class.
      size: Side of a whole frame, px.
      seed: Seed of all random choices.
      traps: Whether to add a clip for each trap. The other clips stay the same. Images have no
        traps.
      release: Release of the database (`Layout.folders`), or 'both' if it has cropped frames.

    Returns:
      The clips, traps and sheets of the tree.

    Raises:
      UserError: The layout or the release is unknown, the output folder is not empty, or the
        numbers give no clips.
    """
    if layout not in NAMES:
        raise UserError(check.unknown_message("layout", layout, NAMES))
    databases = COMPOSITE if layout in ("composite", IMAGES) else (layout,)
    if layout == IMAGES and (traps or release != "raw"):
        raise UserError(
            f"--layout={IMAGES}: it has one release and no traps. Fix: drop --release and --traps."
        )
    releases = _releases(layout, databases, release)
    defaults = config.synthetic()
    spec = Spec(seed, subjects, clips, size, defaults.fps, defaults.amplitude)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: it exists and is not an empty folder. Fix: give another --out.")
    if layout == IMAGES:
        classes = synthetic_images.write({name: LAYOUTS[name] for name in databases}, spec, out)
        return TreeContents(classes, {}, (out / synthetic_images.SHEET,))
    trees = []
    for database in databases:
        root = out / LAYOUTS[database].title if layout == "composite" else out
        trees.append(_write_database(database, spec, traps, releases, root, out))
    return _join_trees(trees)


def _releases(layout: str, databases: tuple[str, ...], release: str) -> tuple[str, ...]:
    common_releases = set.intersection(*({*LAYOUTS[database].folders} for database in databases))
    if release == "both" and CROPPED in common_releases:
        return ("raw", CROPPED)
    if release not in common_releases:
        choices = sorted(common_releases | ({"both"} if CROPPED in common_releases else set()))
        raise UserError(check.unknown_message(f"release of {layout}", release, choices))
    return (release,)


def _write_database(
    name: str, spec: Spec, with_traps: bool, releases: tuple[str, ...], root: Path, out: Path
) -> TreeContents:
    """Write a database to `root`, and its landmarks below `out`."""
    root.mkdir(parents=True, exist_ok=True)
    rows, clips, traps = [], {}, {}
    for trap, take in _takes(name, spec, with_traps):
        takes.write(take, releases, root, out)
        rows += take.rows
        clip = f"{name}/{take.names['subject']}/{take.names['clip']}"
        if trap:
            traps[trap] = (clip,)
        else:
            clips[clip] = take.names["emotion"]
    sheet = LAYOUTS[name].sheet
    return TreeContents(clips, traps, (sheet.write(root, rows),) if sheet else ())


def _takes(name: str, spec: Spec, with_traps: bool) -> Iterator[tuple[str, Take]]:
    """Yield every clip, by subject, with the name of its trap or ''.

    Clips with traps follow the other clips of a subject, which are the same without traps.
    """
    layout = LAYOUTS[name]
    spec = dataclasses.replace(spec, fps=layout.fps)
    traps = traps_of(layout) if with_traps else {}
    for subject in range(spec.subjects):
        for count in range(spec.clips_per_subject):
            yield "", takes.draw(layout, spec, subject, count)
        subject_traps = [*traps][subject :: spec.subjects]
        for count, trap in enumerate(subject_traps, start=spec.clips_per_subject):
            yield trap, traps[trap](takes.draw(layout, spec, subject, count))


def _join_trees(trees: list[TreeContents]) -> TreeContents:
    traps: dict[str, tuple[str, ...]] = {}
    for tree in trees:
        for trap, names in tree.traps.items():
            traps[trap] = traps.get(trap, ()) + names
    return TreeContents(
        clips={name: emotion for tree in trees for name, emotion in tree.clips.items()},
        traps=traps,
        sheets=tuple(path for tree in trees for path in tree.sheets),
    )
