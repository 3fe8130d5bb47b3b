"""Processes that load and preprocess clips beside the parent's optical flow.

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
    """An executor of `workers` processes, or of this process when that is 0 or 1.

    When its block is left by an exception, Ctrl-C among them, the processes end at once.
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
    """Runs each call at once, where it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any):
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Process(SpawnProcess):
    """A spawned process that neither imports the parent's main module nor hears Ctrl-C."""

    def start(self) -> None:
        with _hidden_main(), _blocked_interrupt():
            super().start()


class _Context(SpawnContext):
    Process = _Process  # type: ignore[assignment]


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Keep the child from importing the parent's main module, and with it all of JAX."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _blocked_interrupt() -> Iterator[None]:
    """Let the child inherit a blocked SIGINT: a Ctrl-C is the parent's to answer, once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _init_worker() -> None:
    """Set up a worker: one thread for OpenCV, and an end as soon as the parent is gone."""
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()


def _exit_with_parent(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
