"""The command: `python -m mser_jax.main --config=configs/samm.py [--workdir=...] [--mode=...]`.

Two finished runs: `python -m mser_jax.main --mode=compare --runs RUN_A RUN_B [--workdir=...]`.
"""

import sys
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict

from data_prep.common import command
from data_prep.common.errors import UserError
from mser_jax.config import defaults

WORKDIR = flags.DEFINE_string(
    "workdir", "", "Where the run keeps what it makes; by default a folder of its own under runs/."
)
MODE = flags.DEFINE_enum(
    "mode",
    "all",
    ["all", "train", "evaluate", "report", "final", "compare"],
    "all: whatever is not done yet; train: up to the last epoch; evaluate: the held-out "
    "predictions anew, from the last epoch; report: metrics and page anew, from the predictions; "
    "final: one network on all clips, to be kept (python -m mser_jax.export); "
    "compare: two finished runs, --runs, on the clips that both tested.",
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Train with the other processes of this run (docs/parallel.md)."
)
RUNS = flags.DEFINE_multi_string(
    "runs", [], "The folders of the two runs of --mode=compare; --config is not needed."
)


def main(config: ConfigDict) -> None:
    """Hand the flags to the run, or to the comparison of two."""
    logging.set_verbosity(logging.WARNING)  # else JAX names every back end that it did not find
    if MODE.value == "compare":
        return _compare(RUNS.value, WORKDIR.value)
    if RUNS.value:
        raise UserError("--runs is about two finished runs: add --mode=compare.")
    # Here, so that a missing system library is answered like any mistake.
    from mser_jax import hosts
    from mser_jax.experiments import ablation, run, suite

    hosts.use_cores()
    if DISTRIBUTED.value:
        hosts.join()
    hosts.check_devices()
    kinds = {"ablation": ablation.run_series, "suite": suite.run_suite}
    kind = next((section for section in kinds if section in config), None)
    if kind and MODE.value == "final":
        raise UserError(
            f"--mode=final trains one network, but {config.name} names several. Remedy: the "
            "configuration of one, as configs/synthetic.py or configs/megc2019.py:ststnet."
        )
    start = kinds[kind] if kind else run.run
    start(config, WORKDIR.value, MODE.value)


def _compare(folders: list[str], workdir: str) -> None:
    if any(argument.startswith("--config") for argument in sys.argv[1:]):
        raise UserError("--mode=compare reads the configuration of each run: drop --config.")
    if len(folders) != 2:
        raise UserError(f"--mode=compare needs two runs, not {len(folders)}: --runs RUN_A RUN_B")
    from mser_jax.evaluate.compare import runs
    from mser_jax.report import compare as compare_report

    one, other = (runs.read(folder) for folder in folders)
    results = runs.results(one, other)
    path = compare_report.write(Path(workdir or _default(folders)).expanduser(), results)
    print(f"{compare_report.text_table(results)}\n\nComparison: {path}")


def _default(folders: list[str]) -> Path:
    names = [Path(folder).expanduser().resolve().name for folder in folders]
    return Path("runs") / "-".join(["compare", *names])


def _one_flag_each(arguments: list[str]) -> list[str]:
    """`--runs A B` written as `--runs=A --runs=B`, which the parser of flags understands."""
    written, of_runs = [], False
    for argument in arguments:
        of_runs = argument == "--runs" or (of_runs and not argument.startswith("-"))
        if argument != "--runs":
            written.append(f"--runs={argument}" if of_runs else argument)
    return written


if __name__ == "__main__":
    sys.argv[1:] = _one_flag_each(sys.argv[1:])
    sys.exit(command.run(main, defaults={"runs": Path(defaults.__file__)}))
