"""Former name of `python -m data_prep.synthetic.release`. It prints the new name."""

import sys

if __name__ == "__main__":
    print("The command is now: python -m data_prep.synthetic.release", file=sys.stderr)
    sys.exit(2)
