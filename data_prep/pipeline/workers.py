"""Worker processes that load and preprocess clips while the parent computes optical flow.

They are spawned, not forked: a fork of a process that runs JAX can hang.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from data_prep.common.cv import cv2


@contextlib.contextmanager
def executor(workers: int) -> Iterator[concurrent.futures.Executor]:
    """Yield an executor of `workers` processes, or of this process for 0 or 1.

    If an exception leaves the block, Ctrl-C included, the processes are terminated at once.
    """
    if workers <= 1:
        yield _InProcess()
        return
    with concurrent.futures.ProcessPoolExecutor(
        workers, _Context(), initializer=_init_worker
    ) as pool:
        try:
            yield pool
        except BaseException:
            for process in multiprocessing.active_children():
                if isinstance(process, _Process):
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _InProcess(concurrent.futures.Executor):
    """An executor that runs each call in this process when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any):
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Process(SpawnProcess):
    """A spawned process that does not import the parent's main module and ignores Ctrl-C."""

    def start(self) -> None:
        with _hidden_main(), _blocked_interrupt():
            super().start()


class _Context(SpawnContext):
    Process = _Process  # type: ignore[assignment]


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Hide the parent's main module from the child.

    Otherwise the child would import it, and with it JAX.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _blocked_interrupt() -> Iterator[None]:
    """Block SIGINT so that the child inherits the block.

    Only the parent handles Ctrl-C, once.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _init_worker() -> None:
    """Set up a worker process.

    OpenCV uses one thread, and the process exits as soon as the parent is gone.
    """
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()


def _exit_with_parent(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
