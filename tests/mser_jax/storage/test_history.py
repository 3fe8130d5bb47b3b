"""The log of a run that trained its folds in rounds, and was stopped, resumed or repeated."""

import time

import pytest

from mser_jax.storage import history


def epoch(number, loss, **fields):
    return {"event": "epoch", "epoch": number, "loss": loss, "accuracy": loss / 10} | fields


def of_round(number, epochs=(1, 2), loss=1.0):
    return [epoch(each, loss * number, round=number, seconds=1.0) for each in epochs]


def losses(events):
    return {event["epoch"]: event["loss"] for event in history.epochs(events)}


def test_what_the_rounds_say_of_an_epoch_is_one_event_of_all_folds():
    first = epoch(
        *(1, 2.0),
        **{"round": 1, "seconds": 4.0, "seconds_left": 9.0, "learning_rate": 0.5},
        **{"fold_loss": [1.0, 2.0, 3.0], "gradient_norm": 1.0, "head_choice": [0.75, 0.25]},
        **{"clips_per_second": 10.0, "fraction_of_peak": 0.5},
    )
    second = epoch(
        *(1, 6.0),
        **{"round": 2, "seconds": 12.0, "seconds_left": 1.0, "learning_rate": 0.5},
        **{"fold_loss": [6.0, None], "gradient_norm": 3.0, "head_choice": [0.25, 0.75]},
        **{"clips_per_second": 2.0, "fraction_of_peak": 0.1},
    )
    (merged,) = history.epochs([first, second])
    assert merged == {
        **{"event": "epoch", "epoch": 1, "learning_rate": 0.5, "seconds_left": 1.0},
        "fold_loss": [1.0, 2.0, 3.0, 6.0, None],
        "seconds": 16.0,
        "loss": pytest.approx((3 * 2.0 + 6.0) / 4),  # of four folds that go on
        "accuracy": pytest.approx((3 * 0.2 + 0.6) / 4),
        "gradient_norm": pytest.approx((3 * 1.0 + 3.0) / 4),
        "head_choice": pytest.approx([0.625, 0.375]),
        "clips_per_second": pytest.approx((40 + 24) / 16),
        "fraction_of_peak": pytest.approx((0.5 * 4 + 0.1 * 12) / 16),
    }


def test_a_round_of_which_every_fold_failed_is_in_no_mean():
    gone = {"event": "epoch", "epoch": 1, "round": 1, "loss": None, "accuracy": None}
    gone["fold_loss"] = [None, None]
    there = epoch(1, 3.0, round=2, fold_loss=[3.0])
    (merged,) = history.epochs([gone, there])
    assert merged["fold_loss"] == [None, None, 3.0]
    assert (merged["loss"], merged["accuracy"]) == (3.0, 0.3)
    (merged,) = history.epochs([gone, gone | {"round": 2}])
    assert merged["loss"] is None


def test_a_field_that_not_every_round_logged_is_not_there():
    (merged,) = history.epochs([epoch(1, 1.0, round=1, gradient_norm=3.0), epoch(1, 1.0, round=2)])
    assert "gradient_norm" not in merged


def test_one_round_is_as_it_was_logged():
    events = [epoch(1, 3.0), epoch(2, 2.0, round=1, fold_loss=[1.0, None])]
    kept = history.epochs(events)
    assert kept[0] == events[0]
    assert kept[1] == {name: value for name, value in events[1].items() if name != "round"}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([*of_round(1), *of_round(2)], {1: 1.5, 2: 1.5}),
        ([*of_round(1), *of_round(2, [1]), *of_round(2, loss=4.0)], {1: 4.5, 2: 4.5}),  # resumed
        ([*of_round(1, loss=9.0), *of_round(1, [2]), *of_round(2)], {1: 5.5, 2: 1.5}),
        ([*of_round(1), *of_round(2), *of_round(1, loss=5.0)], {1: 5.0, 2: 5.0}),  # from the start
        ([*of_round(1), *of_round(2, [1])], {1: 1.5, 2: 1.0}),  # stopped
    ],
)
def test_a_round_that_is_done_again_replaces_itself_and_what_came_after(events, expected):
    assert losses(events) == expected


def test_the_log_of_many_rounds_is_read_at_once():
    """26 folds of 5 seeds one after the other, 100 epochs each."""
    events = [event for number in range(1, 131) for event in of_round(number, range(1, 101))]
    began = time.process_time()
    assert len(history.epochs(events)) == 100
    assert time.process_time() - began < 2


def test_rates_are_means_over_the_time():
    epochs = [
        epoch(1, 1.0, seconds=1.0, clips_per_second=10.0, fraction_of_peak=None),
        epoch(2, 1.0, seconds=3.0, clips_per_second=2.0, fraction_of_peak=None),
    ]
    assert history.mean_rate(epochs, "clips_per_second") == pytest.approx(16 / 4)
    assert history.mean_rate(epochs, "fraction_of_peak") is None
    assert history.mean_rate([epoch(1, 1.0)], "clips_per_second") is None


def test_the_newest_failure_of_a_fold_is_the_one_that_counts():
    where = {"event": "diverged", "fold": "x", "seed": 0, "step": 1}
    events = [where | {"epoch": 3}, where | {"epoch": 2}, where | {"epoch": 9, "seed": 1}]
    told = history.diverged_folds(events)
    assert {key: event["epoch"] for key, event in told.items()} == {("x", 0): 2, ("x", 1): 9}
