import dataclasses
import json
import math

import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.made_tables import made
from mser_jax.evaluate.compare import paired
from mser_jax.evaluate.predictions import Predictions

PEOPLE, CLIPS, CLASSES = 10, 12, 3
FIELDS = ("dataset", "subject", "clip", "seed", "fold", "label", "probabilities", "train_loss")


def pair_of_tables(seeds=1):
    """Two methods that share most of their mistakes; the second mends a few and makes a few."""
    random = np.random.default_rng(3)
    rows = PEOPLE * CLIPS
    label = np.tile(np.arange(rows) % CLASSES, seeds)
    hard = random.random(rows * seeds)
    easier = hard - 0.1 * random.random(rows * seeds)
    answers = [(label + (limit > 0.55)) % CLASSES for limit in (hard, easier)]
    answers[1][:5] = (label[:5] + 2) % CLASSES
    who = {
        "subject": np.tile([f"s{row // CLIPS}" for row in range(rows)], seeds),
        "seed": np.repeat(np.arange(seeds), rows),
    }
    return {
        name: made(label, answer, **who) for name, answer in zip(("old", "new"), answers)
    }, dict(zip(("old", "new"), answers))


def compare(tables):
    return paired.compare(tables, "old", "new", "confidence")


def reordered(table, order):
    changed = {name: getattr(table, name)[order] for name in FIELDS}
    return dataclasses.replace(table, **changed)


def scores(label, answer):
    """Accuracy, UF1 and UAR, written out."""
    f1, recall = [], []
    for each in range(CLASSES):
        hits = np.sum((label == each) & (answer == each))
        f1.append(2 * hits / (np.sum(label == each) + np.sum(answer == each)))
        recall.append(hits / np.sum(label == each))
    return np.array([np.mean(label == answer), np.mean(f1), np.mean(recall)])


def test_differences_worked_by_hand():
    # Right: the first on clips 1, 2 and 4; the second on clips 1, 2, 3 and 5.
    label = [0, 0, 0, 1, 1, 2]
    old = made(label, [0, 0, 1, 1, 0, 0], subject=["x", "x", "y", "y", "z", "z"])
    new = made(label, [0, 0, 0, 0, 1, 0], subject=["x", "x", "y", "y", "z", "z"])
    result = compare({"old": old, "new": new})
    assert (result["without"], result["with"]) == ("old", "new")
    assert (result["gained"], result["lost"]) == (2, 1)
    assert result["mcnemar_p"] == 1  # of 3 coins, 1 or fewer, or 2 or more, on one side
    assert result["difference"] == {
        "accuracy": pytest.approx(4 / 6 - 3 / 6),
        "uf1": pytest.approx((6 / 8 + 2 / 3 + 0) / 3 - (4 / 7 + 2 / 4 + 0) / 3),
        "uar": pytest.approx((1 + 1 / 2 + 0) / 3 - (2 / 3 + 1 / 2 + 0) / 3),
    }


def test_the_interval_is_that_of_a_plain_loop_over_subjects_drawn_once_for_both():
    tables, answers = pair_of_tables()
    result = compare(tables)
    label = tables["old"].label
    members = [np.flatnonzero(tables["old"].subject == f"s{person}") for person in range(PEOPLE)]
    random = np.random.default_rng(9)
    together, apart = [], []
    for _ in range(1500):
        rows, others = (
            np.concatenate([members[person] for person in random.integers(PEOPLE, size=PEOPLE)])
            for _ in range(2)
        )
        after = scores(label[rows], answers["new"][rows])
        together.append(after - scores(label[rows], answers["old"][rows]))
        apart.append(after - scores(label[others], answers["old"][others]))
    low, high = np.percentile(together, [2.5, 97.5], axis=0)
    for at, name in enumerate(("accuracy", "uf1", "uar")):
        np.testing.assert_allclose(result["interval"][name], [low[at], high[at]], atol=0.012)
    wide = np.percentile(apart, [2.5, 97.5], axis=0)
    assert (wide[1] - wide[0] > 1.3 * (high - low)).all(), "else this would not see the pairing"


def test_a_table_against_itself_differs_in_nothing():
    table = pair_of_tables()[0]["old"]
    result = compare({"old": table, "new": table})
    assert set(result["difference"].values()) == {0.0}
    assert result["interval"]["accuracy"] == result["interval"]["uar"] == [0, 0]
    assert (result["gained"], result["lost"], result["mcnemar_p"]) == (0, 0, 1)


def test_clips_are_matched_by_their_names_and_not_by_their_rows():
    tables, answers = pair_of_tables()
    order = np.random.default_rng(0).permutation(len(tables["new"]))
    assert compare(tables | {"new": reordered(tables["new"], order)}) == compare(tables)
    right = {name: answer == tables["old"].label for name, answer in answers.items()}
    assert compare(tables)["gained"] == np.sum(right["new"] & ~right["old"]) > 0
    assert compare(tables)["lost"] == np.sum(right["old"] & ~right["new"]) > 0


def test_several_seeds_are_averaged_and_have_no_mcnemar():
    tables, answers = pair_of_tables(seeds=3)
    result = compare(tables)
    label, seed = tables["old"].label, tables["old"].seed
    each = [
        scores(label[seed == one], answers["new"][seed == one])
        - scores(label[seed == one], answers["old"][seed == one])
        for one in range(3)
    ]
    assert list(result["difference"].values()) == pytest.approx(list(np.mean(each, axis=0)))
    assert result["mcnemar_p"] is None
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("gained", [0, 1, 2, 7, 40, 600])
@pytest.mark.parametrize("lost", [1, 2, 7, 33, 640])
def test_mcnemar_is_the_exact_binomial_test(gained, lost):
    tails = sum(math.comb(gained + lost, count) for count in range(min(gained, lost) + 1))
    expected = min(1.0, 2 * tails / 2 ** (gained + lost))
    assert paired.mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def changed(table: Predictions, name, value):
    column = getattr(table, name).copy()
    column[0] = value
    return dataclasses.replace(table, **{name: column})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("clip", "x9", "2 are in only one of them"),
        ("subject", "zz", "2 are in only one of them"),
        ("seed", 5, "2 are in only one of them"),
        ("label", 2, r"do not agree on clip made/s0/0: label a .* and label c "),
        ("fold", "F", r"do not agree on clip made/s0/0: .* and label a in fold F\. Fix"),
    ],
)
def test_tables_of_other_clips_are_refused_by_name(name, value, told):
    tables, _ = pair_of_tables()
    with pytest.raises(UserError, match=f"old and new.*{told}"):
        compare(tables | {"new": changed(tables["new"], name, value)})


def test_a_table_that_lacks_a_class_is_refused():
    table = made([0, 0, 1, 1], [0, 1, 1, 1])
    with pytest.raises(UserError, match="no clip of class c"):
        compare({"old": table, "new": table})
