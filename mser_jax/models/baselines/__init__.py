"""The networks of other papers. Imports JAX, Flax and models."""
