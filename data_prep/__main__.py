"""`python -m data_prep --config=configs/samm.py`: face videos to shards, without any training."""

import sys

from ml_collections import ConfigDict

from data_prep import command


def main(config: ConfigDict) -> None:
    """Prepare the set of a configuration and say where it is."""
    # Here, so that a missing system library is answered like any mistake.
    from data_prep.prepare import prepare

    prepared = prepare(config)
    print(f"{prepared.counts['written']} clips in {prepared.seconds:.1f} s: {prepared.path}")


if __name__ == "__main__":
    sys.exit(command.run(main))
