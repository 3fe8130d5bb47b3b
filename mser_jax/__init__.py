"""Micro-expression recognition with a multi-scale 3D residual network (Jin et al., 2024) in JAX."""

__version__ = "0.1.0"
