"""The benchmarks print what they promise: run at toy size, and traced at the user's."""

import subprocess
import sys

import jax
import pytest

from benchmarks import conv, flow, fold_parallel, megc2019, norm, timing, train_step, training
from helpers import ROOT
from mser_jax.train import throughput

TWINS = {
    conv: "conv_torch",
    fold_parallel: "fold_parallel_torch",
    megc2019: "megc2019_torch",
    train_step: "train_step_torch",
}


class Uncompiled:
    """The steps of all folds, to be traced; nobody knows their memory."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, *arguments):
        return self.steps(*arguments)

    def memory_analysis(self):
        return None


def rows(text):
    """The cells of the tables that a benchmark prints, without their heads."""
    tables = [part.strip().split("\n") for part in text.split("\n\n") if part.startswith("| ")]
    lines = [line for table in tables for line in table[2:]]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def cells(*command):
    """What a benchmark prints at toy size."""
    done = subprocess.run(
        [sys.executable, "-m", *command, "--toy"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m {' '.join(command)} --toy`; commit " in done.stdout
    return rows(done.stdout)


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


@pytest.fixture
def traced(monkeypatch, capsys):
    """Call a benchmark as a user does, tracing what it would compile and time.

    Every shape is as at the user's, and nothing runs but what makes the clips.
    """

    def side_by_side(candidates, rounds, clock):
        for run in candidates.values():
            jax.eval_shape(run)
        return dict.fromkeys(candidates, 1.0)

    monkeypatch.setattr(timing, "side_by_side", side_by_side)
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: tree)  # a traced one never is
    monkeypatch.setattr(training, "program", lambda of, feed: Uncompiled(of.train_steps()))
    monkeypatch.setattr(throughput, "peak_flops", lambda mesh, dtype: 1e12)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)  # devices are there already
    for module, twin in TWINS.items():
        monkeypatch.setattr(module, twin, None)

    def table(module, *flags):
        monkeypatch.setattr(sys, "argv", [module.__file__, *flags])
        module.main()
        return rows(capsys.readouterr().out)

    return table


@pytest.mark.parametrize(
    ("module", "flags", "first"),
    [
        (train_step, ("--networks", "whole"), ["whole"]),
        (
            fold_parallel,
            ("ways", "--folds", "2"),
            ["ours, fold by fold", "ours, vmap", "ours, map"],
        ),
        (fold_parallel, ("devices",), ["1", "2", "4"]),
        (fold_parallel, ("full", "--folds-per-device", "2", "--lifts", "map"), ["2"]),
        (megc2019, (), ["ours"]),
        (norm, (), ["4x8x34x34x256", "4x16x67x67x64"]),
        (conv, (), ["16x134x134x3, 3x7x7x3x64, 1x2x2"]),
        (flow, ("batches",), ["64", "128", "256", "512"]),
    ],
)
def test_the_programs_of_a_table_fit_together_at_full_size(traced, module, flags, first):
    assert [row[0] for row in traced(module, *flags)][: len(first)] == first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "flags", "count"),
    [
        (fold_parallel, ("lowerings",), 4),
        (train_step, ("--networks", "plain", "without-fusion"), 2),
        (train_step, ("--dtype", "bfloat16", "--lowerings", "xla", "einsum"), 6),
        (fold_parallel, ("full", "--dtype", "bfloat16", "--batch", "8"), 10),
    ],
)
def test_the_programs_of_every_row_fit_together_at_full_size(traced, module, flags, count):
    assert len(traced(module, *flags)) == count
