"""Comparisons of tables of the same clips. Imports NumPy, SciPy and evaluate."""
