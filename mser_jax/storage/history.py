"""Readers of the events in log.jsonl. A run may have been stopped, resumed, or repeated.

The events, and the fields of them that are read (a missing field is reported as not recorded):
  start: command, mode, date, versions {name: version}, devices [text];
  data: set (the folder of the prepared clips), clips (tested or trained on), dropped
    {reason: clips}, repaired {'field: reason': values}, release (facts about a database's
    release: text by name, 'clips' and 'stated' {class: clips});
  train: updates_per_epoch and parameters (of one fold), lift, devices, folds_per_device, rounds,
    data ('resident' or 'streamed'), flops_per_clip (of a training step), peak_flops (measured,
    per second, of all devices together);
  stage: name, seconds, reused;
  epoch: round (1 if missing), epoch (from 1), seconds, loss, accuracy, gradient_norm (means over
    the folds that have not failed), learning_rate, fold_loss, fold_accuracy, fold_gradient_norm
    (one value per fold of the round, None if the fold has failed), head_choice (for each head,
    the share of training clips for which it is the most confident), clips_per_second (of all
    folds), fraction_of_peak;
  diverged: fold, seed, epoch and step (both from 1), clips (of that step).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MEANS_OF_FOLDS = ("loss", "accuracy", "gradient_norm", "head_choice")
_RATES = ("clips_per_second", "fraction_of_peak")


def last(events: list[dict], kind: str) -> dict:
    """Return the newest event of a kind, or {} if there is none."""
    return next((event for event in reversed(events) if event["event"] == kind), {})


def start_event(events: list[dict]) -> dict:
    """Return the start event of the run that trained last.

    If no run trained, this is the last start event, or {} if there is none.
    """
    start: dict = {}
    training_start: dict = {}
    for event in events:
        if event["event"] == "start":
            start = event
        elif event["event"] == "epoch" or event.get("name") == "fit":
            training_start = start
    return training_start or start


def epochs(events: list[dict]) -> list[dict]:
    """Return the epochs that led to the result, one event per epoch.

    A resumed run logs again the epochs that it repeats. Such an event replaces the earlier events
    of the same and later epochs. Folds that do not fit on the devices together train in rounds,
    and a round trains to its last epoch before the next begins. The events of one epoch in all
    rounds are merged into one event of all folds, in order.
    """
    valid_events: list[dict] = []
    for event in events:
        if event["event"] == "epoch":
            while valid_events and _position(valid_events[-1]) >= _position(event):
                valid_events.pop()
            valid_events.append(event)
    rounds_by_epoch: dict[int, list[dict]] = {}
    for event in valid_events:
        rounds_by_epoch.setdefault(event["epoch"], []).append(event)
    return [_merge_rounds(rounds_by_epoch[epoch]) for epoch in sorted(rounds_by_epoch)]


def mean_rate(epochs: Sequence[dict], name: str) -> float | None:
    """Return the mean of a rate over the training, weighted by the epochs' seconds.

    Args:
      epochs: Events as `epochs` returns them.
      name: Rate to average, 'clips_per_second' or 'fraction_of_peak'.

    Returns:
      The mean, or None if the rate was not recorded.
    """
    timed_epochs = [epoch for epoch in epochs if name in epoch and "seconds" in epoch]
    return _weighted_mean(
        [epoch[name] for epoch in timed_epochs], [epoch["seconds"] for epoch in timed_epochs]
    )


def diverged_folds(events: list[dict]) -> dict[tuple[str, int], dict]:
    """Return the newest 'diverged' event of each (fold, seed)."""
    return {(e["fold"], e["seed"]): e for e in events if e["event"] == "diverged"}


def stages(events: list[dict]) -> list[dict]:
    """Return one event per stage: its last computation, else its first reuse."""
    stage_events: dict[str, dict] = {}
    for event in events:
        if event["event"] == "stage" and (not event["reused"] or event["name"] not in stage_events):
            stage_events[event["name"]] = event
    return list(stage_events.values())


def _position(event: dict) -> tuple[int, int]:
    return event.get("round", 1), event["epoch"]


def _merge_rounds(rounds: list[dict]) -> dict:
    """Merge one epoch's events of all rounds, without fields that a round lacks."""
    shared_names = [name for name in rounds[0] if all(name in round_ for round_ in rounds)]
    return {name: _merge_field(name, rounds) for name in shared_names if name != "round"}


def _merge_field(name: str, rounds: list[dict]):
    values = [round_[name] for round_ in rounds]
    if name.startswith("fold_"):
        return [value for folds in values for value in folds]
    if name == "seconds":
        return sum(values)
    if name in _RATES:
        return _weighted_mean(values, [round_["seconds"] for round_ in rounds])
    if name in _MEANS_OF_FOLDS:
        return _weighted_mean(values, [_active_fold_count(round_) for round_ in rounds])
    return values[-1]


def _active_fold_count(event: dict) -> int:
    """Count the folds that have not failed: 1 if the log has only their mean."""
    return sum(loss is not None for loss in event.get("fold_loss", [0.0]))


def _weighted_mean(values: Sequence, weights: Sequence[float]):
    """Return the weighted mean of the values that are not None, or None without any.

    The values are numbers or lists of numbers.
    """
    pairs = [(v, w) for v, w in zip(values, weights) if v is not None and w]
    if not pairs:
        return None
    values, weights = zip(*pairs)
    return np.average(values, axis=0, weights=weights).tolist()
