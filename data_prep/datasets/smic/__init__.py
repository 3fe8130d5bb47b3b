"""Read SMIC. Imports datasets.base."""
