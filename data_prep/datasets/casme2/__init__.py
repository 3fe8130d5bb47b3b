"""Read CASME II. Imports datasets.base."""
