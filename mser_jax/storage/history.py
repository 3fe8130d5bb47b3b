"""What the lines of log.jsonl say about a run that may have been stopped, resumed, or repeated.

The events and their fields that are read (a missing one is reported as not recorded):
  start: command, mode, date, versions {name: version}, devices [text];
  data: set (the folder of the prepared clips), clips (tested or trained on), dropped
    {reason: clips}, repaired {what and why: values}, release (what a database was read from: text
    by name, 'clips' and 'stated' {class: clips});
  train: updates_per_epoch and parameters (of one fold), lift, devices, folds_per_device, rounds,
    data ('resident' or 'streamed'), flops_per_clip (of a training step), peak_flops (measured, of
    all devices in a second);
  stage: name, seconds, reused;
  epoch: round (1 where it is missing), epoch (from 1), seconds, loss, accuracy, gradient_norm
    (means over the folds that have not failed), learning_rate, fold_loss, fold_accuracy,
    fold_gradient_norm (a value a fold of the round, None where it has failed), head_choice (a
    share a head: of the training clips for which it is the most confident), clips_per_second (of
    all folds), fraction_of_peak;
  diverged: fold, seed, epoch and step (both from 1), clips (of that step).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MEANS_OF_FOLDS = ("loss", "accuracy", "gradient_norm", "head_choice")
_RATES = ("clips_per_second", "fraction_of_peak")


def last(events: list[dict], kind: str) -> dict:
    """The newest event of a kind; empty when there is none."""
    return next((event for event in reversed(events) if event["event"] == kind), {})


def start_event(events: list[dict]) -> dict:
    """The start of the run that trained last; without any training, the last start."""
    start: dict = {}
    trained: dict = {}
    for event in events:
        if event["event"] == "start":
            start = event
        elif event["event"] == "epoch" or event.get("name") == "fit":
            trained = start
    return trained or start


def epochs(events: list[dict]) -> list[dict]:
    """The epochs that led to the result: a resumed run logs anew what it does again.

    Folds that do not fit on the devices train in rounds, each to its last epoch before the next
    begins. What the rounds say of an epoch is one event here: of all their folds, in order.
    """
    kept: list[dict] = []
    for event in events:
        if event["event"] == "epoch":
            while kept and _position(kept[-1]) >= _position(event):
                kept.pop()
            kept.append(event)
    rounds: dict[int, list[dict]] = {}
    for event in kept:
        rounds.setdefault(event["epoch"], []).append(event)
    return [_merge_rounds(rounds[epoch]) for epoch in sorted(rounds)]


def mean_rate(epochs: Sequence[dict], name: str) -> float | None:
    """The mean over the time of the training of 'clips_per_second' or of 'fraction_of_peak'.

    None where it was not recorded.
    """
    timed = [epoch for epoch in epochs if name in epoch and "seconds" in epoch]
    return _weighted_mean([epoch[name] for epoch in timed], [epoch["seconds"] for epoch in timed])


def diverged_folds(events: list[dict]) -> dict[tuple[str, int], dict]:
    """The newest 'diverged' event of each (fold, seed)."""
    return {(e["fold"], e["seed"]): e for e in events if e["event"] == "diverged"}


def stages(events: list[dict]) -> list[dict]:
    """Every stage once: when it was last made anew, else when it was first reused."""
    kept: dict[str, dict] = {}
    for event in events:
        if event["event"] == "stage" and (not event["reused"] or event["name"] not in kept):
            kept[event["name"]] = event
    return list(kept.values())


def _position(event: dict) -> tuple[int, int]:
    return event.get("round", 1), event["epoch"]


def _merge_rounds(rounds: list[dict]) -> dict:
    """One epoch of all folds, from that of each round; what a round lacks is left out."""
    shared = [name for name in rounds[0] if all(name in each for each in rounds)]
    return {name: _merge_field(name, rounds) for name in shared if name != "round"}


def _merge_field(name: str, rounds: list[dict]):
    values = [each[name] for each in rounds]
    if name.startswith("fold_"):
        return [value for folds in values for value in folds]
    if name == "seconds":
        return sum(values)
    if name in _RATES:
        return _weighted_mean(values, [each["seconds"] for each in rounds])
    if name in _MEANS_OF_FOLDS:
        return _weighted_mean(values, [_active_fold_count(each) for each in rounds])
    return values[-1]


def _active_fold_count(event: dict) -> int:
    """How many folds have not failed; 1 where the log has only their mean."""
    return sum(loss is not None for loss in event.get("fold_loss", [0.0]))


def _weighted_mean(values: Sequence, weights: Sequence[float]):
    """The weighted mean of those that are known, numbers or lists of them; None of none."""
    known = [(v, w) for v, w in zip(values, weights) if v is not None and w]
    if not known:
        return None
    values, weights = zip(*known)
    return np.average(values, axis=0, weights=weights).tolist()
