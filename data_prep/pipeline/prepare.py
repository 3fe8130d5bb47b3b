"""Makes a set of shards from a configuration, for both commands."""

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
      path: Folder of the set, for `data_prep.load_shards`.
      name: `<data set>/<fingerprint>`.
      reused: True if the set existed before.
      counts: Numbers of 'written', 'noted', 'dropped' and 'quarantined' clips.
      reused_clips: Number of written clips that came from the cache; all if `reused`.
      seconds: Time taken.
    """

    path: Path
    name: str
    reused: bool
    counts: dict[str, int]
    reused_clips: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class _Job:
    """One set to make, or to find."""

    source: Source
    entries: Sequence[Entry]
    recipe: identity.Recipe
    data: Any  # Section `data` of the configuration.

    @property
    def listing(self) -> Listing:
        """The source's description of its entries."""
        return listing(self.source)

    @property
    def data_dir(self) -> Path:
        return Path(self.data.data_dir).expanduser()

    @property
    def cache_dir(self) -> Path:
        return self.data_dir / "cache"

    @functools.cached_property
    def path(self) -> Path:
        """Folder of the finished set."""
        name = fingerprint(self.source, self.entries, self.recipe)
        return shards.set_path(self.data_dir, self.source.name, name)

    @property
    def keep_stages(self) -> bool:
        return self.data.cache == "stages"


def prepare(config: Any, print_line: Callable[[str], None] = print) -> PreparedSet:
    """Make the set that the configuration describes, or reuse an existing one.

    Args:
      config: Configuration with the sections `data`, `prep` and, for synthetic clips, `synthetic`.
      print_line: Called with each line for the user.

    Raises:
      UserError: The configuration or the database cannot be used.
    """
    start = time.perf_counter()
    configs.validate(config)
    job = _job(config)
    _print_listing(job.source.name, job.listing, print_line)
    reused, computed = shards.is_finished(job.path), 0
    with _explain_disk_errors(config.data.data_dir):
        if not reused:  # An existing set may be in a read-only folder.
            _check_writable(job.data_dir)
            check_landmarks(config)
            _sweep(job)
            remedy = "another --config.data.data_dir"
            with folders.lock(job.path.parent, remedy, print_line):
                reused = shards.is_finished(job.path)  # Perhaps made while this process waited.
                computed = 0 if reused else _make(job)
        prepared_set = shards.load_shards(job.path, job.recipe)
        counts = prepared_set.info.counts
        _print_counts(counts, computed, reused, job.path, print_line)
        if prepared_set.info.repairs:
            print_line(f"Every repair and every row left out:\n{job.path.parent / repairs.FILE}")
        _preview(job, prepared_set, print_line)
    return PreparedSet(
        path=job.path,
        name=f"{job.source.name}/{job.path.parent.name}",
        reused=reused,
        counts=counts,
        reused_clips=counts["written"] - computed,
        seconds=time.perf_counter() - start,
    )


def fingerprint(source: Source, entries: Sequence[Entry], recipe: identity.Recipe) -> str:
    """Return two digests, of the recipe and of the clips, such as `1f0c9a27-88b1d3e0`.

    Args:
      source: Source of the clips. Its listing is part of the second digest, because the set stores
        it.
      entries: Clips of the set.
      recipe: Fields of `data_prep.config.recipe()` as a plain dict.
    """
    clips = [(entry.name, entry.key) for entry in entries]
    recipe_digest = identity.digest(*identity.fingerprint_parts(recipe))
    release_listing = dataclasses.asdict(listing(source))
    clips_digest = identity.digest(
        identity.canonical_json([source.class_names, clips, release_listing])
    )
    return f"{recipe_digest[:8]}-{clips_digest[:8]}"


def _job(config: Any) -> _Job:
    source = registry.source(config)
    return _Job(source, source.entries(), config.prep.to_dict(), config.data)


def check_landmarks(config: Any) -> None:
    """Raise UserError if the recipe needs dlib and it is missing.

    It is called before the first clip is read, so that a long preparation does not fail late.
    """
    if configs.is_images(config.prep):
        return
    face_recipe = config.prep.face
    has_landmarks = config.data.landmarks_dir or config.data.dataset == "synthetic"
    if face_recipe.points == "dlib" or (
        face_recipe.points == "auto" and (face_recipe.per_frame or not has_landmarks)
    ):
        landmarks.load_detector(face_recipe.model)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}). "
            "Fix: set --config.data.data_dir=/another/folder."
        ) from error


@contextlib.contextmanager
def _explain_disk_errors(data_dir: str) -> Iterator[None]:
    """Raise OSErrors of a full or failing disk as UserErrors."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or data_dir}: {error.strerror or error}. Finished clips are kept. "
            "Fix: free disk space (--config.data.cache=clips needs less), or give another "
            "--config.data.data_dir."
        ) from error


def _make(job: _Job) -> int:
    """Write the set and return the number of clips that were not cached."""
    tally = pipeline.Tally()
    outcomes = pipeline.progress(_outcomes(job), len(job.entries), f"Preparing {job.source.name}")
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


def _sweep(job: _Job) -> None:
    """Remove unfinished files of killed preparations of this data set."""
    for unfinished in job.path.parents[1].glob(f"*/{folders.INCOMPLETE}*"):
        with contextlib.suppress(UserError), folders.lock(unfinished.parent):
            shutil.rmtree(unfinished, ignore_errors=True)
    cache.sweep(job.cache_dir / job.source.name)


def _description(job: _Job, tally: pipeline.Tally) -> dict[str, Any]:
    """Return the set's metadata except for the recipe.

    The repairs are also written to a sheet beside the set.
    """
    all_repairs = repairs.with_apexes(job.listing.repairs, tally.apexes)
    if all_repairs:
        repairs.write(all_repairs, job.path.parent / repairs.FILE)
    return {
        "counts": {
            "written": tally.written,
            "noted": tally.noted,
            "dropped": sum(repairs.count_dropped(all_repairs).values()),
            "quarantined": len(tally.quarantined),
        },
        "release": job.listing.release_description(),
        "repairs": [dataclasses.asdict(repair) for repair in all_repairs],
        "quarantined": tally.quarantined,
    }


def _print_listing(name: str, release_listing: Listing, print_line: Callable[[str], None]) -> None:
    """Print the repairs, the rows left out, and deviations from the published counts."""
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


def _preview(job: _Job, prepared_set: shards.Shards, print_line: Callable[[str], None]) -> None:
    """Draw the first clips of the set, as many as configured; skip images."""
    if isinstance(job.source, ImageSource):
        return
    count = len(prepared_set) if job.data.preview < 0 else min(job.data.preview, len(prepared_set))
    if not count:
        return
    from data_prep.preview import film as preview  # Imports Matplotlib, which only this needs.

    folder = job.path.parent / "preview"
    stages_dir = job.cache_dir if job.keep_stages else None
    written_entries = [
        entry for entry in job.entries if entry.name not in prepared_set.info.quarantined
    ]
    for index, entry in enumerate(written_entries[:count]):
        history = record.history(job.source, job.recipe, entry, stages_dir)
        preview.write(folder, history, prepared_set[index])
    print_line(f"Drew {count} clips: {folder}")
