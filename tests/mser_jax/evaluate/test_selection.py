import numpy as np
import pytest

from data_prep.common.errors import UserError
from mser_jax.evaluate import selection
from mser_jax.evaluate.predictions import Predictions


def table(probabilities, label, train_loss):
    probabilities = np.array(probabilities, np.float32)
    rows = len(probabilities)
    text = np.array([f"{row}" for row in range(rows)])
    return Predictions(
        dataset=np.full(rows, "made"),
        subject=text,
        clip=text,
        seed=np.zeros(rows, int),
        fold=text,
        label=np.array(label),
        probabilities=probabilities,
        train_loss=np.array(train_loss, np.float32),
        class_names=("a", "b", "c"),
    )


# Row 0: head 0 is surest, head 1 is right and has the lower training loss.
# Row 1: no head is right, their mean is. Row 2: nobody is right.
THREE = table(
    [
        [[0.7, 0.2, 0.1], [0.3, 0.5, 0.2]],
        [[0.0, 0.55, 0.45], [0.55, 0.0, 0.45]],
        [[0.6, 0.3, 0.1], [0.8, 0.1, 0.1]],
    ],
    label=[1, 2, 2],
    train_loss=[[0.9, 0.2], [0.4, 0.5], [0.1, 0.3]],
)


def test_confidence_takes_the_highest_probability_of_each_row_and_the_first_of_a_tie():
    chosen, head = selection.choose(THREE, "confidence")
    assert head.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(chosen, THREE.probabilities[[0, 1, 2], [0, 0, 1]])


def test_train_loss_takes_the_lowest_loss_of_each_row():
    chosen, head = selection.choose(THREE, "train_loss")
    assert head.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(chosen, THREE.probabilities[[0, 1, 2], [1, 0, 0]])


def test_mean_is_the_mean_of_the_heads():
    chosen, head = selection.choose(THREE, "mean")
    assert head.tolist() == [selection.ALL_HEADS] * 3
    np.testing.assert_allclose(chosen[0], [0.5, 0.35, 0.15], rtol=1e-6)


def test_oracle_takes_a_right_answer_wherever_there_is_one():
    chosen, head = selection.choose(THREE, "oracle")
    assert head.tolist() == [1, selection.ALL_HEADS, 0]
    assert (chosen.argmax(axis=1) == THREE.label).tolist() == [True, True, False]


def test_oracle_prefers_a_right_head_to_a_wrong_one_that_is_surer_of_the_label():
    wrong_but_surer = [[0.52, 0.48, 0.0], [0.3, 0.4, 0.3]]
    _, head = selection.choose(table([wrong_but_surer], [1], [[0.1, 0.1]]), "oracle")
    assert head.tolist() == [1]


@pytest.mark.parametrize("rule", selection.RULES)
def test_no_rule_is_more_often_right_than_the_oracle(rule):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(3), size=(400, 4))
    made = table(probabilities, random.integers(3, size=400), random.random((400, 4)))
    right = {
        each: (selection.choose(made, each)[0].argmax(axis=1) == made.label).mean()
        for each in (rule, "oracle")
    }
    assert right[rule] <= right["oracle"]


def test_only_the_oracle_reads_the_label():
    flipped = table(THREE.probabilities, 2 - THREE.label, THREE.train_loss)
    same = {
        rule: np.array_equal(selection.choose(THREE, rule)[0], selection.choose(flipped, rule)[0])
        for rule in selection.RULES
    }
    assert same == {"confidence": True, "mean": True, "train_loss": True, "oracle": False}


def test_an_unknown_rule_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'confidence'"):
        selection.choose(THREE, "confidense")
