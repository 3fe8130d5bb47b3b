"""From a configuration to a set of shards: what both commands call."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep import config as configs
from data_prep.common import folders
from data_prep.common.errors import UserError
from data_prep.datasets import registry
from data_prep.datasets.base import repairs
from data_prep.datasets.base.source import Entry, ImageSource, Listing, Source, listing
from data_prep.pipeline import cache, record
from data_prep.pipeline import clips as pipeline
from data_prep.shards import dataset as shards
from data_prep.stages import identity, landmarks


@dataclasses.dataclass(frozen=True)
class PreparedSet:
    """A finished set.

    Attributes:
      path: its folder, for `data_prep.shards.dataset.load`.
      name: `<data set>/<fingerprint>`.
      reused: whether it was there before.
      counts: 'written', 'noted', 'dropped' and 'quarantined' clips.
      reused_clips: of those written, the clips that came from the cache; all when `reused`.
      seconds: the time that this took.
    """

    path: Path
    name: str
    reused: bool
    counts: dict[str, int]
    reused_clips: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class _Job:
    """One set to be made, or found."""

    source: Source
    entries: Sequence[Entry]
    recipe: identity.Recipe
    data: Any  # the section `data` of the configuration

    @property
    def listing(self) -> Listing:
        """What the source says of its entries."""
        return listing(self.source)

    @property
    def data_dir(self) -> Path:
        return Path(self.data.data_dir).expanduser()

    @property
    def cache_dir(self) -> Path:
        return self.data_dir / "cache"

    @functools.cached_property
    def path(self) -> Path:
        """Of the finished set."""
        name = fingerprint(self.source, self.entries, self.recipe)
        return shards.set_path(self.data_dir, self.source.name, name)

    @property
    def keep_stages(self) -> bool:
        return self.data.cache == "stages"


def prepare(config: Any, print_line: Callable[[str], None] = print) -> PreparedSet:
    """Make the set that the configuration describes, or find it made before.

    Args:
      config: with the sections `data`, `prep` and, for synthetic clips, `synthetic`.
      print_line: takes the lines that tell the user what was made, reused or left out.

    Raises:
      UserError: for a configuration or a database that cannot be used.
    """
    start = time.perf_counter()
    configs.validate(config)
    job = _job(config)
    _print_listing(job.source.name, job.listing, print_line)
    reused, made = shards.is_finished(job.path), 0
    with _explain_disk_errors(config.data.data_dir):
        if not reused:  # else a data folder that is only for reading does
            _check_writable(job.data_dir)
            check_landmarks(config)
            made = _make(job)
        stored = shards.load_shards(job.path, job.recipe)
        counts = stored.info.counts
        _print_counts(counts, made, reused, job.path, print_line)
        if stored.info.repairs:
            print_line(f"Every repair and every row left out:\n{job.path.parent / repairs.FILE}")
        _preview(job, stored, print_line)
    return PreparedSet(
        path=job.path,
        name=f"{job.source.name}/{job.path.parent.name}",
        reused=reused,
        counts=counts,
        reused_clips=counts["written"] - made,
        seconds=time.perf_counter() - start,
    )


def fingerprint(source: Source, entries: Sequence[Entry], recipe: identity.Recipe) -> str:
    """Two digests, of the recipe and of the clips: `1f0c9a27-88b1d3e0`."""
    clips = [(entry.name, entry.key) for entry in entries]
    how = identity.digest(*identity.fingerprint_parts(recipe))
    told = dataclasses.asdict(listing(source))  # what the set says of the release is of this one
    what = identity.digest(identity.canonical_json([source.class_names, clips, told]))
    return f"{how[:8]}-{what[:8]}"


def _job(config: Any) -> _Job:
    source = registry.source(config)
    return _Job(source, source.entries(), config.prep.to_dict(), config.data)


def check_landmarks(config: Any) -> None:
    """Miss dlib before the first clip is read rather than after the last; images need none."""
    if configs.is_images(config.prep):
        return
    wanted = config.prep.face
    given = config.data.landmarks_dir or config.data.dataset == "synthetic"
    if wanted.points == "dlib" or (wanted.points == "auto" and (wanted.per_frame or not given)):
        landmarks.load_detector(wanted.model)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}. "
            "Fix: --config.data.data_dir=/another/folder."
        ) from error


@contextlib.contextmanager
def _explain_disk_errors(data_dir: str) -> Iterator[None]:
    """Tell of a full or failing disk with the remedy."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or data_dir}: {error.strerror or error}. What is finished is kept. "
            "Fix: make room (--config.data.cache=clips needs less), or give another "
            "--config.data.data_dir."
        ) from error


def _make(job: _Job) -> int:
    """Write the set; return how many of its clips were not in the cache."""
    tally = pipeline.Tally()
    outcomes = pipeline.progress(_outcomes(job), len(job.entries), f"Preparing {job.source.name}")
    with _claim(job):
        shards.write(
            pipeline.good_records(outcomes, tally, job.path.parent),
            data_dir=job.data_dir,
            name=job.source.name,
            fingerprint=job.path.parent.name,
            recipe=job.recipe,
            class_names=job.source.class_names,
            describe=lambda: _description(job, tally),
        )
    return tally.computed


def _outcomes(job: _Job) -> Iterator[pipeline.Outcome]:
    if isinstance(job.source, ImageSource):
        return pipeline.image_outcomes(job.source, job.entries)
    return pipeline.run(
        job.source,
        job.entries,
        job.recipe,
        cache_dir=job.cache_dir,
        workers=job.data.workers,
        keep_stages=job.keep_stages,
    )


def _claim(job: _Job) -> contextlib.AbstractContextManager[None]:
    """Keep others from taking what this process is writing for leftovers."""
    return folders.claim(job.path.parents[1], functools.partial(_sweep, job))


def _sweep(job: _Job) -> None:
    """Remove what killed preparations of this data set left half written."""
    for unfinished in job.path.parents[1].glob(f"*/{folders.INCOMPLETE}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    cache.sweep(job.cache_dir / job.source.name)


def _description(job: _Job, tally: pipeline.Tally) -> dict[str, Any]:
    """What the set's metadata says beside the recipe; what was repaired is a sheet as well."""
    done = repairs.with_apexes(job.listing.repairs, tally.apexes)
    if done:
        repairs.write(done, job.path.parent / repairs.FILE)
    return {
        "counts": {
            "written": tally.written,
            "noted": tally.noted,
            "dropped": sum(repairs.count_dropped(done).values()),
            "quarantined": len(tally.quarantined),
        },
        "release": job.listing.release_description(),
        "repairs": [dataclasses.asdict(repair) for repair in done],
        "quarantined": tally.quarantined,
    }


def _print_listing(name: str, release_listing: Listing, print_line: Callable[[str], None]) -> None:
    """What was repaired and left out, in which classes the release is not as it should be."""
    if release_listing.repairs:
        print_line(f"Repaired or left out of {name}:")
        print_line("\n".join(repairs.table(release_listing.repairs)))
    if release_listing.deviation:
        print_line(textwrap.fill(f"Warning: {name} has {release_listing.deviation}", 79))


def _print_counts(
    counts: Mapping[str, int],
    computed: int,
    reused: bool,
    path: Path,
    print_line: Callable[[str], None],
) -> None:
    written, noted, failed = counts["written"], counts["noted"], counts["quarantined"]
    if reused:
        print_line(f"Reused {path}: {written} clips, prepared before.")
    else:
        print_line(
            f"Reused {written - computed} of {written} clips, made {computed}, left out "
            f"{counts['dropped']}, failed {failed}:\n{path}"
        )
    if noted:
        print_line(f"Clips with a note: {noted}, in\n{path.parent / pipeline.NOTES}")
    if failed:
        print_line(
            f"Clips that failed and are not in the set: {failed}; each with its reason in\n"
            f"{path.parent / pipeline.QUARANTINE}\nRemove {path.parent} to try them again."
        )


def _preview(job: _Job, stored: shards.Shards, print_line: Callable[[str], None]) -> None:
    """Draw the first clips of the set, as many as the configuration asks for; never images."""
    if isinstance(job.source, ImageSource):
        return
    count = len(stored) if job.data.preview < 0 else min(job.data.preview, len(stored))
    if not count:
        return
    from data_prep.preview import film as preview  # with Matplotlib, which nothing else here needs

    folder = job.path.parent / "preview"
    kept = job.cache_dir if job.keep_stages else None
    written = [entry for entry in job.entries if entry.name not in stored.info.quarantined]
    with _claim(job):  # the stages go into the cache where they are not there any more
        for index, entry in enumerate(written[:count]):
            history = record.history(job.source, job.recipe, entry, kept)
            preview.write(folder, history, stored[index])
    print_line(f"Drew {count} clips: {folder}")
