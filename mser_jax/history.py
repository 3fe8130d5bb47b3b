"""What the lines of log.jsonl say about a run that may have been stopped, resumed, or repeated.

The events and their fields that are read (a missing one is reported as not recorded):
  start: command, mode, date, versions {name: version}, devices [text];
  data: clips (tested or trained on), dropped {reason: clips}, repaired {what and why: values},
    release (what a database was read from: text by name, 'clips' and 'stated' {class: clips});
  train: updates_per_epoch (of one fold), parameters;
  stage: name, seconds, reused;
  epoch: epoch, seconds, loss, accuracy (means over the folds), fold_loss, fold_accuracy.
"""

from __future__ import annotations


def last(events: list[dict], kind: str) -> dict:
    """The newest event of a kind; empty when there is none."""
    return next((event for event in reversed(events) if event["event"] == kind), {})


def started(events: list[dict]) -> dict:
    """The start of the run that trained last; without any training, the last start."""
    start: dict = {}
    trained: dict = {}
    for event in events:
        if event["event"] == "start":
            start = event
        elif event["event"] == "epoch":
            trained = start
    return trained or start


def epochs(events: list[dict]) -> list[dict]:
    """The epochs that led to the result: a resumed run logs anew what it does again."""
    kept: list[dict] = []
    for event in events:
        if event["event"] == "epoch":
            kept = [before for before in kept if before["epoch"] < event["epoch"]]
            kept.append(event)
    return kept


def stages(events: list[dict]) -> list[dict]:
    """Every stage once: when it was last made anew, else when it was first reused."""
    kept: dict[str, dict] = {}
    for event in events:
        if event["event"] == "stage" and (not event["reused"] or event["name"] not in kept):
            kept[event["name"]] = event
    return list(kept.values())
