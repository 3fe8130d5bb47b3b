"""Trees of files in the layouts of the databases, with synthetic clips in the place of people.

The databases are handed out under signed agreements, which takes its time. A tree from here goes
through the whole program before that, and the readers are tested on such trees: with `--traps`
they hold what goes wrong in real releases.

    python -m data_prep.synthetic.release --layout=casme2 --out=TREE

The classes of the synthetic clips stand under the emotions of the database's sheet. No accuracy on
such a tree says anything about the database.
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
IMAGES = "megc2019"  # the same three, as images of flow
NAMES = (*LAYOUTS, "composite", IMAGES)


@dataclasses.dataclass(frozen=True)
class TreeContents:
    """What a tree holds; a clip's name is `database/subject/clip`.

    Attributes:
      clips: name -> emotion in the sheet, of the clips that nothing was done to.
      traps: trap -> names of the clips that carry it, one a database.
      sheets: the sheets' files.
    """

    clips: Mapping[str, str]
    traps: Mapping[str, tuple[str, ...]]
    sheets: tuple[Path, ...]

    @property
    def repeated_names(self) -> tuple[str, ...]:
        """Those of `clips` that are called the same as one of another subject."""
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
    """Write a tree: the same bytes for the same arguments.

    Beside the release lie the faces' landmarks, `<subject>/<clip>.csv`, for
    `config.data.landmarks_dir`: in `landmarks` those of whole frames, in `landmarks_cropped` those
    of frames that are cropped to the face.

    Args:
      layout: a database of `LAYOUTS`, 'composite' (SMIC, CASME II and SAMM, a folder each), or
        'megc2019' (an image of flow for each clip of the three; without landmarks).
      out: the folder to write, which must not hold anything yet.
      subjects: people in each database.
      clips: clips a person; four of them show every class.
      size: side of a whole frame, px.
      seed: of everything drawn.
      traps: whether to add for each trap a clip that carries it; the others stay as they are.
        Images have none.
      release: one of the database's (`Layout.folders`), or 'both' where there are cropped frames.

    Raises:
      UserError: an unknown layout or release, a folder with something in it, or numbers that give
        no clips.
    """
    if layout not in NAMES:
        raise UserError(check.unknown_message("layout", layout, NAMES))
    databases = COMPOSITE if layout in ("composite", IMAGES) else (layout,)
    if layout == IMAGES and (traps or release != "raw"):
        raise UserError(f"The layout {IMAGES} is of one release, without traps: drop these flags.")
    releases = _releases(layout, databases, release)
    drawn = config.synthetic()
    spec = Spec(seed, subjects, clips, size, drawn.fps, drawn.amplitude)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there already and no empty folder. Give another --out.")
    if layout == IMAGES:
        clips_of = synthetic_images.write({name: LAYOUTS[name] for name in databases}, spec, out)
        return TreeContents(clips_of, {}, (out / synthetic_images.SHEET,))
    trees = []
    for database in databases:
        root = out / LAYOUTS[database].title if layout == "composite" else out
        trees.append(_write_database(database, spec, traps, releases, root, out))
    return _join_trees(trees)


def _releases(layout: str, databases: tuple[str, ...], release: str) -> tuple[str, ...]:
    known = set.intersection(*({*LAYOUTS[database].folders} for database in databases))
    if release == "both" and CROPPED in known:
        return ("raw", CROPPED)
    if release not in known:
        choices = sorted(known | ({"both"} if CROPPED in known else set()))
        raise UserError(check.unknown_message(f"release of {layout}", release, choices))
    return (release,)


def _write_database(
    name: str, spec: Spec, with_traps: bool, releases: tuple[str, ...], root: Path, out: Path
) -> TreeContents:
    """Write a database into `root`, its landmarks below `out`."""
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
    """Every clip, by subject, with the name of its trap or ''.

    Clips with traps are added after a subject's others, which are the same without them.
    """
    layout = LAYOUTS[name]
    spec = dataclasses.replace(spec, fps=layout.fps)
    traps = traps_of(layout) if with_traps else {}
    for subject in range(spec.subjects):
        for count in range(spec.clips_per_subject):
            yield "", takes.draw(layout, spec, subject, count)
        own = [*traps][subject :: spec.subjects]
        for count, trap in enumerate(own, start=spec.clips_per_subject):
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
