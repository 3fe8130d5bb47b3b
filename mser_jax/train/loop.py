"""The loop over epochs: calls of a few seconds, checkpoints, and stopping without loss of work."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import jax

from mser_jax import hosts, parallel
from mser_jax.data.feed import Feed, Window
from mser_jax.storage.checkpoints import Checkpoints
from mser_jax.train.monitor import Monitor, Pace
from mser_jax.train.state import State
from mser_jax.train.step import TrainSteps
from mser_jax.train.trainer import Trainer

SECONDS = 10.0  # of a call, about; Ctrl-C, the bar and other hosts wait until a call ends


def train(
    trainer: Trainer,
    train_steps: TrainSteps,
    feed: Feed,
    checkpoints: Checkpoints,
    monitor: Monitor,
    after_epoch: Callable[[int, State], object] | None = None,
) -> State:
    """Train every fold to the last epoch, from the newest checkpoint if there is one.

    Args:
      trainer: Trainer of the folds.
      train_steps: Compiled steps of the trainer.
      feed: Feed of the clips.
      checkpoints: Store of the states.
      monitor: Monitor that reports every epoch.
      after_epoch: Callback that gets the number of finished epochs, and the states.

    Returns:
      The states of all folds after the last epoch; dummy folds at the end.

    Raises:
      KeyboardInterrupt: Ctrl-C or SIGTERM, after the last finished step was saved.
      UserError: Every fold of the run diverged, or the last states cannot be saved.
    """
    updates, settings = trainer.updates_per_epoch(), trainer.settings
    end = settings.epochs * updates
    with checkpoints, Interrupt("the current steps") as interrupt:
        position, (state, metrics) = checkpoints.restore(
            (trainer.init_state(), trainer.zero_metrics())
        )
        if 0 < position < end:
            print(
                f"Resuming after {checkpoints.format_position(position)}, "
                f"from {checkpoints.folder}."
            )
        calls, weights = _TimedCalls(trainer, feed), trainer.class_weights()
        with monitor.open_bar(position, end) as bar:
            for epoch in range(position // updates, settings.epochs):
                updates_done, seconds_before = position - epoch * updates, calls.seconds
                for window, first, stop in calls.iterate(epoch, updates_done, updates):
                    steps = trainer.step_range(epoch, first, stop)
                    state, metrics = train_steps(
                        state, metrics, window.schedule, weights, steps, window.clips
                    )
                    jax.block_until_ready(metrics)
                    position = epoch * updates + stop
                    bar.update(stop - first)
                    if stop < updates and hosts.any_process(interrupt.requested):
                        checkpoints.save(position, (state, metrics), wait=True)
                        raise KeyboardInterrupt
                pace = Pace(updates - updates_done, calls.seconds - seconds_before)
                epoch_metrics, failed = parallel.fetch((metrics, state.failed))
                monitor.report_epoch(epoch, epoch_metrics, failed, pace)
                if after_epoch:
                    after_epoch(epoch + 1, state)
                metrics = trainer.zero_metrics()
                stopping = hosts.any_process(interrupt.requested)
                if stopping or position == end or (epoch + 1) % settings.checkpoint_every == 0:
                    checkpoints.save(position, (state, metrics), wait=stopping or position == end)
                if stopping:
                    raise KeyboardInterrupt
    return state


class _TimedCalls:
    """Calls of an epoch, each of as many steps as take about `SECONDS`.

    Attributes:
      seconds: Total time of all calls so far, s.
    """

    def __init__(self, trainer: Trainer, feed: Feed):
        self.seconds = 0.0
        self._trainer, self._feed = trainer, feed
        self._steps_per_call = 1  # of the next call, derived from the time of the last one

    def iterate(self, epoch: int, first: int, stop: int) -> Iterator[tuple[Window, int, int]]:
        """Yield (window, first step, step after the last) of each call.

        The time of a call ends when the next call is requested.
        """
        for window in self._feed.windows(self._trainer.schedule(epoch), first, stop):
            step = window.first
            while step < window.stop:
                end, start = min(step + self._steps_per_call, window.stop), time.perf_counter()
                yield window, step, end
                seconds = time.perf_counter() - start
                self.seconds += seconds
                self._steps_per_call = hosts.broadcast(
                    max(1, int(SECONDS * (end - step) / seconds))
                )
                step = end


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Context in which the first SIGINT or SIGTERM sets `requested`, and a later SIGINT raises.

    A later SIGTERM changes nothing, because schedulers send it both to a job and to its steps.

    Args:
      current_work: Work that is finished before stopping, for the message.
    """

    def __init__(self, current_work: str):
        self.requested = False
        self._current_work = current_work
        self._previous_handlers = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous_handlers = {
                number: signal.signal(number, self._handle) for number in _SIGNALS
            }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested:
            return
        self.requested = True
        print(
            f"\nStopping after {self._current_work}, then saving. "
            "Press Ctrl-C again to stop at once.",
            file=sys.stderr,
            flush=True,
        )
