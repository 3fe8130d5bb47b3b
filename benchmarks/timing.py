"""Shared code of the benchmarks: timing in turns, intervals, the heading of a table."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
RESAMPLES = 2000  # Bootstrap samples of the subjects, for the intervals.


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Measure the seconds of each candidate: the median over rounds taken in turn.

    Candidates take turns so that a machine whose speed drifts slows all of them alike. An untimed
    call precedes each timed one, since a virtual machine is slow to hand out again the memory that
    the previous candidate has freed.

    Args:
      candidates: Name -> function to time.
      rounds: Number of rounds.
      clock: Function that returns the time in seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            run()
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: sorted(times)[len(times) // 2] for name, times in seconds.items()}


def clock(platform_name: str) -> Callable[[], float]:
    """Choose the clock: CPU time on a CPU, the wall clock elsewhere.

    On a CPU other programs would slow the wall clock.

    Args:
      platform_name: Name of JAX's platform.
    """
    return time.process_time if platform_name == "cpu" else time.perf_counter


def heading(device: str, packages: Sequence[str]) -> str:
    """Format the line above a table: command, commit, device, versions, date.

    Args:
      device: Name of the device.
      packages: Packages whose versions are listed.
    """
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"`python -m {' '.join(_command())}`; commit {commit or 'unknown'}; {device}, "
        f"{len(os.sched_getaffinity(0))} core(s); Python {platform.python_version()}, {versions}; "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}."
    )


def interval(values: np.ndarray, subjects: np.ndarray) -> tuple[float, float]:
    """Compute the 95 % bootstrap interval of the mean over subjects.

    Args:
      values: One value per clip, `[clips]`.
      subjects: Subject of each clip, `[clips]`; subjects are resampled as a whole.

    Returns:
      (low, high).
    """
    means = np.array([values[subjects == subject].mean() for subject in np.unique(subjects)])
    draws = np.random.default_rng(0).integers(len(means), size=(RESAMPLES, len(means)))
    low, high = np.quantile(means[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def table(rows: Sequence[Sequence[object]]) -> str:
    """Format a Markdown table; the first row is its header."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _command() -> list[str]:
    module = Path(sys.argv[0]).stem
    return [f"benchmarks.{module}", *map(shlex.quote, sys.argv[1:])]
