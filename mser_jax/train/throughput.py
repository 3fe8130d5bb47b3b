"""The peak speed of the devices, of which a training reaches a share."""

import time

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

# Floating-point operations of a training step per multiply-add of the forward pass: two in the
# forward pass, two for the gradient by the inputs and two for the gradient by the weights.
TRAINING_FLOPS_PER_MAC = 6
_MATRIX_SIDES = {"cpu": 1024}
_MATRIX_SIDE = 8192  # on other platforms
_PRODUCTS, _TRIES = 8, 3


def peak_flops(mesh: Mesh, dtype: str) -> float:
    """Measure the floating-point operations per second of all devices.

    One device is measured in matrix products, and the result multiplied by the number of devices.
    The devices of a CPU share its cores, so there the result of one device is that of the machine.

    Args:
      mesh: Mesh of the devices.
      dtype: Type of the matrices.
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
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
