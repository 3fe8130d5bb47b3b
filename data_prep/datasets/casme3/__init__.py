"""Read CAS(ME)^3, part A. Imports datasets.base."""
