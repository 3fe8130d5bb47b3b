"""Read MMEW. Imports datasets.base."""
