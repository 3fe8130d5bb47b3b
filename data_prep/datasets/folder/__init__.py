"""Read a folder of videos with a sheet. Imports datasets.base and video."""
