"""Pages, plots and tables, from evaluate and from the log of a run. Imports no JAX."""
