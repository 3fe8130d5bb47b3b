"""The command that compares two finished runs: `python -m mser_jax.compare RUN_A RUN_B`.

It compares the runs on the clips that both tested.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.common import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two runs and return the exit status."""
    flags = _parser().parse_args(arguments)
    return command.run_and_get_status(lambda: _compare(flags.runs, flags.out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mser_jax.compare", description=__doc__)
    parser.add_argument("runs", nargs=2, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--out", type=Path, help="folder to write (default: runs/compare-RUN_A-RUN_B)"
    )
    return parser


def _compare(folders: Sequence[str], out: Path | None) -> None:
    """Write compare.html, compare.json and compare.csv, and print the table."""
    # Imported here so that a wrong argument is reported at once.
    from mser_jax.evaluate.compare import runs
    from mser_jax.report import compare

    first, second = (runs.read(folder) for folder in folders)
    results = runs.results(first, second)
    page = compare.write(command.expand_path(out or _default_out(folders)), results)
    print(f"{compare.text_table(results)}\n\nComparison: {page}")


def _default_out(folders: Sequence[str]) -> Path:
    names = [command.expand_path(folder).resolve().name for folder in folders]
    return Path("runs") / "-".join(["compare", *names])


if __name__ == "__main__":
    sys.exit(main())
