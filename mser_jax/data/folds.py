"""The folds: their training and test clips, and the check that no fold trains on what it tests."""

import dataclasses
import hashlib
import zlib
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Fold:
    """One training: the clips that it learns from, and those that it is scored on.

    Attributes:
      name: Name of what the fold leaves out, 'dataset/subject' under LOSO.
      train: Indices of the training clips.
      test: Indices of the test clips.
      seed: Seed that decides, with the name, everything random in the fold. A result therefore does
        not depend on which folds, or which other seeds of the same fold, train at the same time.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    seed: int = 0

    @property
    def key(self) -> int:
        """Number that depends on the name alone."""
        return zlib.crc32(self.name.encode())

    @property
    def title(self) -> str:
        """Name and seed, by which the fold differs from all others of a run."""
        return f"{self.name}, seed {self.seed}"


def replicate(folds: Sequence[Fold], seeds: Iterable[int]) -> list[Fold]:
    """Repeat the folds for each seed, one seed after the other.

    A replicate is a fold of its own.
    """
    return [dataclasses.replace(fold, seed=seed) for seed in seeds for fold in folds]


def loso(groups: Sequence[str]) -> list[Fold]:
    """Make the folds that leave one subject out (LOSO).

    Args:
      groups: 'dataset/subject' of every clip.

    Returns:
      One fold for each group, in alphabetical order.
    """
    names = np.asarray(groups)
    return [_make_fold(str(name), names == name) for name in np.unique(names)]


def leave_one_sample_out(names: Sequence[str]) -> list[Fold]:
    """Make the folds that leave one clip out (eq. 4.5 as the paper writes it).

    The subject's other clips are then in the training set, so the results are not comparable with
    LOSO.

    Args:
      names: 'dataset/subject/clip' of every clip.
    """
    clips = np.arange(len(names))
    return [_make_fold(name, clips == clip) for clip, name in enumerate(names)]


def k_fold(groups: Sequence[str], parts: int, seed: int) -> list[Fold]:
    """Make the folds that leave one part of the subjects out.

    The parts have nearly equal numbers of clips. Subjects are placed in order of falling number of
    clips, each into the part that has the fewest clips so far. Among subjects with equal numbers, a
    digest of seed and name decides the order. So the division depends only on the names, the
    numbers of clips and the seed.

    Args:
      groups: 'dataset/subject' of every clip.
      parts: Number of parts, at most the number of groups.
      seed: Seed of the division.

    Returns:
      The folds 'k_fold/0', 'k_fold/1', ...
    """
    names, group, clips = np.unique(groups, return_inverse=True, return_counts=True)
    part, filled = np.zeros(len(names), int), np.zeros(parts, int)
    for i in sorted(range(len(names)), key=lambda i: (-clips[i], _tie_break(seed, names[i]))):
        part[i] = filled.argmin()
        filled[part[i]] += clips[i]
    return [_make_fold(f"k_fold/{index}", part[group] == index) for index in range(parts)]


def leave_databases_out(databases: Sequence[str], held_out: Iterable[str]) -> list[Fold]:
    """Make a fold for each held-out database, which trains on all other databases.

    Args:
      databases: Database of every clip.
      held_out: Databases to test.

    Returns:
      The folds 'database/<name>', in the order of `held_out`.
    """
    names = np.asarray(databases)
    return [_make_fold(f"database/{name}", names == name) for name in held_out]


def _make_fold(name: str, test_mask: np.ndarray) -> Fold:
    """Make a fold that tests where the mask is true and trains elsewhere."""
    return Fold(name, np.flatnonzero(~test_mask), np.flatnonzero(test_mask))


def _tie_break(seed: int, name: str) -> bytes:
    """Return a sort key that depends on the seed and the name alone."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def all_clips_fold(clip_count: int, seed: int) -> Fold:
    """Make the fold of the final training, which trains on every clip and tests none.

    Args:
      clip_count: Number of clips.
      seed: Seed of the training.
    """
    return Fold("everything", np.arange(clip_count), np.arange(0), seed)


def check_no_leak(folds: Sequence[Fold], units: Sequence[str], test_clips: np.ndarray) -> None:
    """Check that no fold trains on what it tests, and that each clip is tested once.

    Args:
      folds: Folds to check.
      units: Unit of every clip: its subject, its database, or (when one sample is left out) the
        clip itself. A fold must either test all clips of a unit or train on all of them.
      test_clips: Indices of the clips that must be tested exactly once by all folds together.

    Raises:
      ValueError: A fold trains on what it tests, has no training or no test clips, or a clip is not
        tested exactly once. The message names the fold and the shared units.
    """
    names = np.asarray(units)
    for fold in folds:
        shared = np.intersect1d(names[fold.train], names[fold.test])
        if shared.size:
            raise ValueError(f"fold {fold.name!r} trains on what it tests: {', '.join(shared)}")
        if not (fold.train.size and fold.test.size):
            raise ValueError(f"fold {fold.name!r} has nothing to train on, or nothing to test")
    tested = np.concatenate([fold.test for fold in folds])
    if not np.array_equal(np.sort(tested), np.sort(test_clips)):
        raise ValueError("the folds do not test every test clip exactly once")
