"""The command: `python -m mser_jax.main --config=configs/samm.py [--workdir=...] [--mode=...]`."""

import re
import sys
from collections.abc import Sequence

from absl import flags, logging
from ml_collections import ConfigDict

from data_prep.common import command
from data_prep.common.errors import UserError

WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder of the run. The default is a folder of its own under runs/."
)
MODE = flags.DEFINE_enum(
    "mode",
    "all",
    ["all", "train", "evaluate", "report", "final"],
    "all: every step that is not done yet; train: train up to the last epoch; evaluate: make the "
    "held-out predictions again from the last epoch; report: compute the metrics and write the "
    "page again from the predictions; final: train one network on all clips, to export it with "
    "python -m mser_jax.export.",
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Train with the other processes of this run (docs/parallel.md)."
)


def main(config: ConfigDict) -> None:
    """Run one configuration, an ablation, or a suite of models, as the flags say."""
    logging.set_verbosity(logging.WARNING)  # JAX would list every back end it did not find.
    # Imported here so that a missing system library ends in a UserError, not a traceback.
    from mser_jax import hosts
    from mser_jax.experiments import ablation, run, suite, workdir

    hosts.use_cores()
    if DISTRIBUTED.value:
        hosts.join_processes()
    hosts.check_devices()
    kinds = {"ablation": ablation.run_ablation, "suite": suite.run_suite}
    kind = next((section for section in kinds if section in config), None)
    if kind and MODE.value == "final":
        raise UserError(
            f"--mode=final trains one network, but {config.name} names several. Fix: give the "
            "configuration of one, as configs/synthetic.py or configs/megc2019.py:ststnet."
        )
    workdir.restore_class_map(config, WORKDIR.value)
    start = kinds[kind] if kind else run.run
    start(config, WORKDIR.value, MODE.value)


def _refuse_old_spelling(arguments: Sequence[str]) -> None:
    """Raise UserError, with the new spelling, for the old spelling of a comparison."""
    if re.search(r"(^| )--(mode[= ]compare|runs)\b", " ".join(arguments)):
        raise UserError(
            "A command of its own compares two finished runs. Fix: run "
            "python -m mser_jax.compare RUN_A RUN_B [--out=FOLDER]"
        )


def _start() -> int:
    status = command.run_and_get_status(lambda: _refuse_old_spelling(sys.argv[1:]))
    return status or command.run(main)


if __name__ == "__main__":
    sys.exit(_start())
