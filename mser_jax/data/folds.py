"""Who trains on what: the folds, the order of an epoch, and the check that nothing leaks.

An index schedule is int32 `[step, batch]`; an entry is `clip * variants + variant`, or -1 for an
empty slot.
"""

import dataclasses
import hashlib
import zlib
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Fold:
    """One training: the clips it learns from and those it is scored on.

    Attributes:
      name: of what it leaves out, 'dataset/subject' under LOSO.
      train: indices of clips.
      test: indices of clips.
      seed: with the name it decides everything random in the fold, so that a result does not depend
        on which folds, or which other seeds of the same fold, run beside.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    seed: int = 0

    @property
    def key(self) -> int:
        """A number that the name alone decides."""
        return zlib.crc32(self.name.encode())

    @property
    def title(self) -> str:
        """What tells it from all other trainings of a run."""
        return f"{self.name}, seed {self.seed}"


def replicate(folds: Sequence[Fold], seeds: Iterable[int]) -> list[Fold]:
    """Every fold once for each seed, one seed after the other: a replicate is another fold."""
    return [dataclasses.replace(fold, seed=seed) for seed in seeds for fold in folds]


def loso(groups: Sequence[str]) -> list[Fold]:
    """Leave one subject out.

    Args:
      groups: 'dataset/subject' of every clip.

    Returns:
      One fold for each group, in alphabetical order.
    """
    names = np.asarray(groups)
    return [_make_fold(str(name), names == name) for name in np.unique(names)]


def leave_one_sample_out(names: Sequence[str]) -> list[Fold]:
    """Leave one clip out: eq. 4.5 as the paper writes it.

    A subject's other clips are then in the training set, so figures from it are not comparable with
    LOSO.

    Args:
      names: 'dataset/subject/clip' of every clip.
    """
    every = np.arange(len(names))
    return [_make_fold(name, every == clip) for clip, name in enumerate(names)]


def k_fold(groups: Sequence[str], parts: int, seed: int) -> list[Fold]:
    """Divide the subjects into parts of nearly as many clips, and leave each part out once.

    The subjects with the most clips come first, each into the part that has the fewest clips so
    far. Among subjects with equally many the seed decides, through a digest of it and the name: the
    division depends on the names, the numbers of clips and the seed, and on nothing else.

    Args:
      groups: 'dataset/subject' of every clip.
      parts: how many, at most as many as there are groups.
      seed: of the division.

    Returns:
      The folds 'k_fold/0', 'k_fold/1', ...
    """
    names, group, clips = np.unique(groups, return_inverse=True, return_counts=True)
    part, filled = np.zeros(len(names), int), np.zeros(parts, int)
    for at in sorted(range(len(names)), key=lambda at: (-clips[at], _tie_break(seed, names[at]))):
        part[at] = filled.argmin()
        filled[part[at]] += clips[at]
    return [_make_fold(f"k_fold/{each}", part[group] == each) for each in range(parts)]


def leave_databases_out(databases: Sequence[str], held_out: Iterable[str]) -> list[Fold]:
    """Train on all databases but one, and test on that one, for each of those held out.

    Args:
      databases: the database of every clip.
      held_out: those that are tested.

    Returns:
      The folds 'database/<name>', in the order of `held_out`.
    """
    names = np.asarray(databases)
    return [_make_fold(f"database/{name}", names == name) for name in held_out]


def _make_fold(name: str, test_mask: np.ndarray) -> Fold:
    """Test where the mask is true, train where it is not."""
    return Fold(name, np.flatnonzero(~test_mask), np.flatnonzero(test_mask))


def _tie_break(seed: int, name: str) -> bytes:
    """A place in an order that the seed and the name alone decide."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def all_clips_fold(clip_count: int, seed: int) -> Fold:
    """The one training that is kept: on every clip, so that it tests none.

    Args:
      clip_count: how many there are.
      seed: of the training.
    """
    return Fold("everything", np.arange(clip_count), np.arange(0), seed)


def check_no_leak(folds: Sequence[Fold], units: Sequence[str], test_clips: np.ndarray) -> None:
    """Refuse folds that train on what they test, or that do not test each clip exactly once.

    Args:
      folds: who trains on what.
      units: what a fold has wholly on one side, for every clip: its subject, its database, or (when
        one sample is left out) the clip itself.
      test_clips: indices of the clips that the folds are to test between them.

    Raises:
      ValueError: names the fold and what it shares, or says that a clip is tested never or twice.
    """
    names = np.asarray(units)
    for fold in folds:
        shared = np.intersect1d(names[fold.train], names[fold.test])
        if shared.size:
            raise ValueError(f"fold {fold.name!r} trains on what it tests: {', '.join(shared)}")
        if not (fold.train.size and fold.test.size):
            raise ValueError(f"fold {fold.name!r} has nothing to train on, or nothing to test")
    found = np.concatenate([fold.test for fold in folds])
    if not np.array_equal(np.sort(found), np.sort(test_clips)):
        raise ValueError("the folds do not test every clip that is to be tested exactly once")
