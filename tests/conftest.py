"""What every test runs under: four CPU devices, strict shapes, programs compiled once."""

import os
import signal

import jax
import pytest
from absl import flags

DEVICES = 4


def pytest_configure(config):
    # Where pytest keeps its own cache, so that a second run and the commands that tests start find
    # what was compiled before.
    compiled = str(config.rootpath / ".pytest_cache" / "xla")
    for option, value in {"jax_compilation_cache_dir": compiled, "jax_platforms": "cpu"}.items():
        jax.config.update(option, os.environ.setdefault(option.upper(), value))
    # Programs of less than a second are kept as well: a test compiles dozens of them.
    quickest = "jax_persistent_cache_min_compile_time_secs"
    jax.config.update(quickest, float(os.environ.setdefault(quickest.upper(), "0.1")))
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    flags.FLAGS.mark_as_parsed()  # grain reads flags of absl
    # A shell's background job starts with Ctrl-C ignored and would hand that on to the commands
    # that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def unoptimised():
    """Compile faster what a test runs once; never to time or to compare bits."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
