"""Synthetic trees of files in the layouts of the databases. Imports synthetic."""
