"""The benchmarks of training run, at toy size, and print what they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def cells(*command):
    """The rows of the table that a benchmark prints, without its head."""
    done = subprocess.run(
        [sys.executable, "-m", *command, "--toy"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    heading, _, table = done.stdout.partition("\n\n")
    assert f"python -m {' '.join(command)} --toy`; commit " in heading
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")[2:-1]]


def test_folds_are_trained_in_every_way_through_the_engine():
    rows = cells("benchmarks.fold_parallel", "ways", "--lifts", "map")
    assert [name for name, *_ in rows][:2] == ["ours, fold by fold", "ours, map"]
    assert all(float(milliseconds) > 0 for _, _, milliseconds, _ in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "first"),
    [
        (("benchmarks.fold_parallel", "devices"), ["1", "2"]),
        (("benchmarks.fold_parallel", "lowerings"), ["xla, vmap", "xla, map", "auto, vmap"]),
        (("benchmarks.fold_parallel", "full"), ["1", "1"]),
        (("benchmarks.train_step", "--networks", "plain"), ["plain"]),
        (("benchmarks.megc2019",), ["ours"]),
        (("benchmarks.norm",), ["2x2x6x6x4"]),
        (("benchmarks.conv", "--batch", "1", "--rounds", "1"), ["2x9x9x4, 3x7x7x4x8, 1x2x2"]),
    ],
)
def test_the_other_tables_are_printed(command, first):
    assert [row[0] for row in cells(*command)][: len(first)] == first
