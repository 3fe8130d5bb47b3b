"""Command `python -m data_prep.synthetic.release --layout=casme2 --out=TREE`."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path

from data_prep.common.errors import UserError
from data_prep.synthetic.release import tree
from data_prep.synthetic.release.takes import LANDMARKS, LANDMARKS_CROPPED

FLAGS = {
    "subjects": "people in each database",
    "clips": "clips per person",
    "size": "side of a whole frame, px",
    "seed": "seed of all random choices",
    "release": "raw; cropped or both for smic and casme2; clips for casme3; subjects for mmew",
}


def main(arguments: list[str] | None = None) -> int:
    """Write a tree and return the exit status: 2 if it cannot be written."""
    options = _parser().parse_args(arguments)
    try:
        contents = tree.write(**vars(options))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: cannot be written ({error.strerror}).", file=sys.stderr)
        print("Fix: free disk space, or give another --out.", file=sys.stderr)
        return 2
    for trap, names in contents.traps.items():
        print(f"{trap}: {', '.join(names)}")
    print(f"{len(contents.clips)} clips without a trap in {options.out}. To read them:")
    if options.layout == tree.IMAGES:
        print(f"  --config.data.manual_dir={options.out}")
    for folder, frames in ((LANDMARKS, ""), (LANDMARKS_CROPPED, " --config.data.frames=cropped")):
        points = options.out / folder
        if points.is_dir():
            flags = f"--config.data.manual_dir={options.out} --config.data.landmarks_dir={points}"
            print(f"  {flags}{frames}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.synthetic.release",
        description=tree.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layout", required=True, help=f"one of {', '.join(tree.NAMES)}")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--traps", action="store_true", help="add clips with the faults of real releases"
    )
    parameters = inspect.signature(tree.write).parameters
    for flag, meaning in FLAGS.items():
        default = parameters[flag].default
        meaning += f" (default: {default})"
        parser.add_argument(f"--{flag}", type=type(default), default=default, help=meaning)
    return parser


if __name__ == "__main__":
    sys.exit(main())
