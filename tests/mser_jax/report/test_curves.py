"""Which curves a log gives, what they show, and what the page tells beside them."""

import html
import re

import numpy as np
import pytest

from helpers.made_report import EVENTS, PNG, config, made
from mser_jax.evaluate import scoring
from mser_jax.report import curves, plots
from mser_jax.report.run import page as report
from mser_jax.storage import history

LOSS, ACCURACY = "training loss, sum of the heads", "accuracy on training clips"
GRADIENT, HEADS = "norm of the gradient", "training clips by their surest head"
RATE = "learning rate"


def epochs(**changes):
    """Three epochs of two folds; in the last the second fold has failed."""
    events = []
    for number in (1, 2, 3):
        event = {"event": "epoch", "epoch": number, "seconds": 2.0, "learning_rate": 1e-5 / number}
        for at, name in enumerate(("loss", "accuracy", "gradient_norm"), 1):
            folds = [0.1 * at * number, 0.2 * at * number if number < 3 else None]
            event[f"fold_{name}"] = folds
            event[name] = float(np.mean([value for value in folds if value is not None]))
        event |= {"head_choice": [0.1 * number, 1 - 0.1 * number]}
        event |= {"clips_per_second": 4.0 * number, "fraction_of_peak": 0.1 * number}
        events.append(event | changes)
    return events


def drawn(events):
    return {title: figure.axes[0] for title, figure in curves.single_figures(events, 4)}


def points(line):
    """`[epoch, 2]`: the epoch, and the value there."""
    return np.array(line.get_xydata())


def test_every_logged_curve_is_drawn():
    axes = drawn(epochs())
    assert list(axes) == [LOSS, ACCURACY, GRADIENT, HEADS, RATE]
    for title, name in ((LOSS, "loss"), (GRADIENT, "gradient_norm"), (RATE, "learning_rate")):
        line = axes[title].lines[0]
        np.testing.assert_allclose(points(line), [(e["epoch"], e[name]) for e in epochs()])
    shares = [points(line)[:, 1] for line in axes[HEADS].lines]
    np.testing.assert_allclose(shares, [[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    assert [line.get_label() for line in axes[HEADS].lines] == ["head 1", "head 2"]


def test_the_range_is_of_the_folds_that_have_not_failed():
    (band,) = drawn(epochs())[GRADIENT].collections
    corners = np.array(band.get_paths()[0].vertices)
    spread = [np.ptp(corners[corners[:, 0] == step, 1]) for step in (1, 2, 3)]
    assert spread == pytest.approx([0.3, 0.6, 0])
    gone = epochs(loss=None, fold_loss=[None, None])
    assert np.isnan(points(drawn(gone)[LOSS].lines[0])[:, 1]).all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"learning_rate": 1e-5}, [LOSS, ACCURACY, GRADIENT, HEADS]),
        ({"head_choice": [1.0]}, [LOSS, ACCURACY, GRADIENT, RATE]),
        ({"gradient_norm": None, "head_choice": None}, [LOSS, ACCURACY, RATE]),
    ],
)
def test_a_curve_that_says_nothing_is_left_out(changes, expected):
    assert list(drawn(epochs(**changes))) == expected


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_ticks_are_whole_epochs(count):
    axes = drawn(epochs()[:count])[LOSS]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks == list(range(1, count + 1))


def test_an_old_log_has_loss_and_accuracy():
    old = history.epochs(EVENTS)
    assert list(drawn(old)) == [LOSS, ACCURACY]
    for events, rows in ((old, 1), (epochs(), 3)):
        figure = curves.overview(events, 4)
        shown = [axes for axes in figure.axes if axes.get_visible()]
        assert [axes.get_title(loc="left") for axes in shown] == list(drawn(events))
        assert len(figure.axes) == 2 * rows
        assert plots.png(figure).startswith(PNG)


PLAN = {
    **{"event": "train", "updates_per_epoch": 7, "parameters": 1234, "lift": "vmap"},
    **{"devices": 3, "folds_per_device": 5, "rounds": 2, "data": "streamed"},
    **{"flops_per_clip": 1.67e11, "peak_flops": 6.9e14},
}


def facts(events):
    """The names and values of every list on the page."""
    page = report.render(scoring.score(made(), "mean"), config(), events)
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    return {html.unescape(name): value for name, value in found}


def test_the_page_tells_throughput_and_on_what_it_ran():
    told = facts([*EVENTS[:2], PLAN, *epochs()])
    assert told["clips a second, of all folds"] == "8.0"
    assert told["share of the devices' peak"] == "20.0%"
    assert told["measured peak of the devices"] == "690.0 TFLOP/s"
    assert told["arithmetic of a training step"] == "167 GFLOP a clip"
    assert (told["folds on a device at once"], told["rounds of folds"]) == ("5", "2")
    assert told["lift over the folds"] == "vmap"
    assert told["clips in training"] == "streamed to the devices"


def test_what_an_old_log_lacks_is_not_recorded():
    told = facts(EVENTS)
    missing = [name for name, value in told.items() if value == "not recorded"]
    assert missing == [
        *("clips a second, of all folds", "share of the devices' peak"),
        *("measured peak of the devices", "arithmetic of a training step"),
        *("folds on a device at once", "rounds of folds", "lift over the folds"),
        "clips in training",
    ]
