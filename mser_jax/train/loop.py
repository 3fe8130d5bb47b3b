"""The loop over epochs: calls of a few seconds, checkpoints, and stopping without loss."""

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

SECONDS = 10.0  # of a call, about: Ctrl-C, the bar and other hosts wait for its end


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
      trainer: what to train.
      train_steps: its steps, compiled.
      feed: of the clips.
      checkpoints: where the states are kept.
      monitor: is told of every epoch.
      after_epoch: called with the number of epochs that are done, and the states.

    Returns:
      The states of all folds after the last epoch; dummy folds at the end.

    Raises:
      KeyboardInterrupt: Ctrl-C or SIGTERM; the last finished step has been saved.
      UserError: every fold of the run diverged, or the last states cannot be saved.
    """
    updates, settings = trainer.updates_per_epoch(), trainer.settings
    end = settings.epochs * updates
    with checkpoints, Interrupt("the present steps") as interrupt:
        position, (state, metrics) = checkpoints.restore(
            (trainer.init_state(), trainer.zero_metrics())
        )
        if 0 < position < end:
            print(
                f"Going on after {checkpoints.format_position(position)}, from {checkpoints.folder}."
            )
        calls, weights = _TimedCalls(trainer, feed), trainer.class_weights()
        with monitor.open_bar(position, end) as bar:
            for epoch in range(position // updates, settings.epochs):
                done, began = position - epoch * updates, calls.seconds
                for window, first, stop in calls.iterate(epoch, done, updates):
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
                pace = Pace(updates - done, calls.seconds - began)
                told, failed = parallel.fetch((metrics, state.failed))
                monitor.report_epoch(epoch, told, failed, pace)
                if after_epoch:
                    after_epoch(epoch + 1, state)
                metrics = trainer.zero_metrics()
                asked = hosts.any_process(interrupt.requested)
                if asked or position == end or (epoch + 1) % settings.checkpoint_every == 0:
                    checkpoints.save(position, (state, metrics), wait=asked or position == end)
                if asked:
                    raise KeyboardInterrupt
    return state


class _TimedCalls:
    """The calls of an epoch, each of as many steps as take about `SECONDS`.

    Attributes:
      seconds: of all calls so far.
    """

    def __init__(self, trainer: Trainer, feed: Feed):
        self.seconds = 0.0
        self._trainer, self._feed = trainer, feed
        self._steps_per_call = 1  # of the next one, by the time that the last one took

    def iterate(self, epoch: int, first: int, stop: int) -> Iterator[tuple[Window, int, int]]:
        """(window, first step, the one after the last); a call's time runs until the next."""
        for window in self._feed.windows(self._trainer.schedule(epoch), first, stop):
            at = window.first
            while at < window.stop:
                last, began = min(at + self._steps_per_call, window.stop), time.perf_counter()
                yield window, at, last
                taken = time.perf_counter() - began
                self.seconds += taken
                self._steps_per_call = hosts.broadcast(max(1, int(SECONDS * (last - at) / taken)))
                at = last


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM sets `requested`; a further SIGINT raises.

    A further SIGTERM changes nothing: schedulers send it to a job and to its steps.

    Args:
      what: what is finished first, for the message.
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
            f"\nStopping after {self._current_work}, then saving. Ctrl-C once more to stop at once.",
            file=sys.stderr,
            flush=True,
        )
