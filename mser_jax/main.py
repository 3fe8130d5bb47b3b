"""The command: `python -m mser_jax.main --config=configs/samm.py [--workdir=...] [--mode=...]`."""

import sys

from absl import flags, logging
from ml_collections import ConfigDict

from data_prep import command

WORKDIR = flags.DEFINE_string(
    "workdir", "", "Where the run keeps what it makes; by default a folder of its own under runs/."
)
MODE = flags.DEFINE_enum(
    "mode",
    "all",
    ["all", "train", "evaluate", "report"],
    "all: whatever is not done yet; train: up to the last epoch; evaluate: the held-out "
    "predictions anew, from the last epoch; report: metrics and page anew, from the predictions.",
)


def main(config: ConfigDict) -> None:
    """Hand the flags to the run."""
    logging.set_verbosity(logging.WARNING)  # else JAX names every back end that it did not find
    # Here, so that a missing system library is answered like any mistake.
    from mser_jax import run, series

    start = series.run_series if "ablation" in config else run.run
    start(config, WORKDIR.value, MODE.value)


if __name__ == "__main__":
    sys.exit(command.run(main))
