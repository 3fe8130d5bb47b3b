"""How fast a device is at its best, to say which share of that a training reaches."""

import time

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

# Floating-point operations of a training step for a multiply-add of the forward pass: two, and the
# gradients by inputs and by weights are as many each.
TRAINING_FLOPS_PER_MAC = 6
_MATRIX_SIDES = {"cpu": 1024}  # of the matrices; elsewhere:
_MATRIX_SIDE = 8192
_PRODUCTS, _TRIES = 8, 3


def peak_flops(mesh: Mesh, dtype: str) -> float:
    """The floating-point operations a second that all devices reach in matrix products.

    Measured on one device. The devices of a CPU share its cores: there it is that of the machine.

    Args:
      mesh: the devices.
      dtype: of the matrices.
    """
    device = mesh.local_devices[0]
    side = _MATRIX_SIDES.get(device.platform, _MATRIX_SIDE)
    matrix = jax.device_put(jnp.full((side, side), 1 / side, dtype), device)

    @jax.jit
    def products(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, _PRODUCTS, lambda _, y: jnp.matmul(x, y), x)

    products(matrix).block_until_ready()
    best = min(_seconds(lambda: products(matrix).block_until_ready()) for _ in range(_TRIES))
    devices = 1 if device.platform == "cpu" else mesh.devices.size
    return devices * _PRODUCTS * 2 * side**3 / best


def _seconds(run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
