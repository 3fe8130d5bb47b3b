"""Command `python -m data_prep.synthetic --out=CLIPS`."""

import sys

from data_prep.synthetic import clips

if __name__ == "__main__":
    sys.exit(clips.main())
