"""The old spelling of `python -m data_prep.synthetic.release`; it answers with the new one."""

import sys

if __name__ == "__main__":
    print("The command is now: python -m data_prep.synthetic.release", file=sys.stderr)
    sys.exit(2)
