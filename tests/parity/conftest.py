"""The benchmarks' clips serve here too: scripts of this checkout, which no installation has."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # last: what is installed comes first
