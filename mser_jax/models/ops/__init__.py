"""Convolutions and pooling as functions of arrays. Imports JAX and a type of `models.layers`."""
