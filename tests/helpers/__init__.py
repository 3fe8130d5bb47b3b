"""What several tests share; no test module is imported from another."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
