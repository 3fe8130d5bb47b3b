"""What the benchmarks share: timing side by side, intervals, what must stand beside a figure."""

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
RESAMPLES = 2000  # of the subjects, for the intervals


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds of each candidate, the median of `rounds`, taken in turn.

    In turn, so that a machine whose speed drifts is as slow for one as for the other; each after
    an unmeasured call of its own, as a virtual machine takes its time to give memory again that
    the other one has freed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            run()
            began = clock()
            run()
            seconds[name].append(clock() - began)
    return {name: sorted(taken)[len(taken) // 2] for name, taken in seconds.items()}


def clock(platform_name: str) -> Callable[[], float]:
    """CPU time on a CPU, as other programs slow the wall clock; the wall clock elsewhere."""
    return time.process_time if platform_name == "cpu" else time.perf_counter


def heading(device: str, packages: Sequence[str]) -> str:
    """What must stand beside a figure: command, commit, device, versions, date."""
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
    """95 % of the means that other subjects would give: whole subjects drawn with replacement."""
    means = np.array([values[subjects == subject].mean() for subject in np.unique(subjects)])
    draws = np.random.default_rng(0).integers(len(means), size=(RESAMPLES, len(means)))
    low, high = np.quantile(means[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def table(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _command() -> list[str]:
    module = Path(sys.argv[0]).stem
    return [f"benchmarks.{module}", *map(shlex.quote, sys.argv[1:])]
