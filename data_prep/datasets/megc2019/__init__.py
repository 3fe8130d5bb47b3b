"""Read the composite of MEGC 2019 as flow images. Imports datasets.base."""
