import dataclasses

import numpy as np

from helpers.made_tables import made
from mser_jax.evaluate import ensemble


def three_seeds():
    """Two clips; of the second two seeds are right, but less sure than the third is wrong."""
    table = made([0, 1] * 3, [0] * 6, seed=[4, 4, 5, 5, 6, 6], subject=["x", "y"] * 3)
    probabilities = np.array(
        [[0.8, 0.2, 0], [0.4, 0.6, 0], [0.6, 0.4, 0], [0.45, 0.55, 0], [0.9, 0.1, 0], [0.9, 0.1, 0]]
    )
    return dataclasses.replace(table, probabilities=probabilities[:, None].astype(np.float32))


def test_the_seeds_together_answer_by_the_mean_of_their_probabilities():
    together = ensemble.average_seeds(three_seeds(), "confidence")
    assert together.subject.tolist() == ["x", "y"]
    assert together.seed.tolist() == [4, 4]
    assert together.label.tolist() == [0, 1]
    wanted = [[2.3 / 3, 0.7 / 3, 0], [1.75 / 3, 1.25 / 3, 0]]
    np.testing.assert_allclose(together.probabilities[:, 0], wanted, rtol=1e-6)


def test_rows_are_matched_by_their_names():
    table = three_seeds()
    mixed = table.take(np.random.default_rng(0).permutation(len(table)))
    one, other = (ensemble.average_seeds(each, "mean") for each in (table, mixed))
    np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-6)
    assert one.clip.tolist() == other.clip.tolist()


def test_one_seed_is_itself():
    table = made([0, 1, 2], [0, 2, 2], subject=["c", "a", "b"])
    alone = ensemble.average_seeds(table, "confidence")
    order = np.argsort(table.subject)
    np.testing.assert_array_equal(alone.probabilities, table.probabilities[order])
