"""Drawn trees in the layouts of the databases. Imports synthetic."""
