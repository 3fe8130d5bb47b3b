"""Read the composite of MEGC 2019 as images of flow. Imports datasets.base."""
