"""Provenance of a run: what a reader needs to repeat it."""

import contextlib
import datetime
import importlib.metadata
import platform
import shlex
import sys
from typing import Any

import jax
from ml_collections import ConfigDict

_PACKAGES = ("mser_jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy", "opencv-python")


def provenance(config: ConfigDict, mode: str) -> dict[str, Any]:
    """Return what a reader needs to repeat a run.

    Args:
      config: Configuration of the run.
      mode: Mode of the command.

    Returns:
      config and preset (their names), mode, command, date (UTC), versions and devices.
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "config": config.name,
        "preset": config.preset,
        "mode": mode,
        "command": "python -m mser_jax.main " + shlex.join(sys.argv[1:]),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions,
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
    }
