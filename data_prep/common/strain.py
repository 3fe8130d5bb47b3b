"""The optical strain of a flow, for NumPy and for JAX."""

from __future__ import annotations

from typing import Any

import numpy as np


def strain(flow: Any, xp: Any = np) -> Any:
    """Compute the optical strain of a flow (Shreve et al. 2011).

    It is the norm of the symmetric gradient, for each pixel: sqrt(exx^2 + eyy^2 + 2 exy^2) with
    exx = du/dx, eyy = dv/dy, exy = (du/dy + dv/dx) / 2.

    Args:
      flow: Flow `[..., h, w, 2]` (u right, v down) in px.
      xp: Module of the array, `numpy` or `jax.numpy`.

    Returns:
      `[..., h, w]`, of the type of `flow`.
    """
    down, right = xp.gradient(flow, axis=(-3, -2))
    exx, eyy = right[..., 0], down[..., 1]
    exy = (down[..., 0] + right[..., 1]) / 2
    return xp.sqrt(exx**2 + eyy**2 + 2 * exy**2)
