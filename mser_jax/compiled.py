"""Compiled programs, kept from one process to the next."""

import os
from pathlib import Path

import jax


def keep_programs() -> None:
    """A second run of the same shapes need not compile; JAX's own variable moves the folder."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path.home() / ".cache" / "mser_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
