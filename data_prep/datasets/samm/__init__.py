"""Read SAMM. Imports datasets.base."""
