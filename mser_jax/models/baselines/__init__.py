"""Networks of other papers, as baselines. Imports JAX, Flax and models."""
