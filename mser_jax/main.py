"""The command: `python -m mser_jax.main --config=configs/samm.py [--workdir=...] [--mode=...]`."""

import re
import sys
from collections.abc import Sequence

from absl import flags, logging
from ml_collections import ConfigDict

from data_prep.common import command
from data_prep.common.errors import UserError

WORKDIR = flags.DEFINE_string(
    "workdir", "", "Where the run keeps what it makes; by default a folder of its own under runs/."
)
MODE = flags.DEFINE_enum(
    "mode",
    "all",
    ["all", "train", "evaluate", "report", "final"],
    "all: whatever is not done yet; train: up to the last epoch; evaluate: the held-out "
    "predictions anew, from the last epoch; report: metrics and page anew, from the predictions; "
    "final: one network on all clips, to be kept (python -m mser_jax.export).",
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Train with the other processes of this run (docs/parallel.md)."
)


def main(config: ConfigDict) -> None:
    """Hand the flags to the run of one configuration, of an ablation, or of a suite of models."""
    logging.set_verbosity(logging.WARNING)  # else JAX names every back end that it did not find
    # Here, so that a missing system library is answered like any mistake.
    from mser_jax import hosts
    from mser_jax.experiments import ablation, run, suite

    hosts.use_cores()
    if DISTRIBUTED.value:
        hosts.join_processes()
    hosts.check_devices()
    kinds = {"ablation": ablation.run_ablation, "suite": suite.run_suite}
    kind = next((section for section in kinds if section in config), None)
    if kind and MODE.value == "final":
        raise UserError(
            f"--mode=final trains one network, but {config.name} names several. Fix: the "
            "configuration of one, as configs/synthetic.py or configs/megc2019.py:ststnet."
        )
    start = kinds[kind] if kind else run.run
    start(config, WORKDIR.value, MODE.value)


def _refuse_old_spelling(arguments: Sequence[str]) -> None:
    """Answer the old spelling of the comparison with the new one."""
    if re.search(r"(^| )--(mode[= ]compare|runs)\b", " ".join(arguments)):
        raise UserError(
            "Two finished runs are compared by a command of their own: "
            "python -m mser_jax.compare RUN_A RUN_B [--out=FOLDER]"
        )


def _start() -> int:
    status = command.run_and_get_status(lambda: _refuse_old_spelling(sys.argv[1:]))
    return status or command.run(main)


if __name__ == "__main__":
    sys.exit(_start())
