"""Several seeds in one run: each is the run of that seed alone."""

import functools

import jax
import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.toy import (
    FOLDS,
    SEED,
    assert_same_bits,
    differ,
    fold_of,
    predicted,
    program,
    rows_of,
    toy,
    trained,
    trainer,
)
from helpers.toy_clips import DATASET, GROUPS, made_clips
from mser_jax.config import defaults, validation
from mser_jax.data.folds import loso, replicate
from mser_jax.experiments import setup
from mser_jax.experiments.workdir import open_workdir
from mser_jax.storage.checkpoints import Checkpoints

SLOTS = (0, 3)  # of two and of three steps
SEEDS = (SEED - 1, SEED, SEED + 1)


@functools.cache
def several():
    """Two folds of three seeds, on four devices: two dummies."""
    chosen = [loso(GROUPS)[slot] for slot in SLOTS]
    return program(trainer(replicate(chosen, SEEDS), devices=4))


def test_under_map_a_fold_of_one_seed_among_several_is_the_fold_alone_to_the_bit():
    stack = trained(several(), made_clips())
    for at, slot in enumerate(SLOTS):
        own = fold_of(stack, SEEDS.index(SEED) * len(SLOTS) + at)
        assert_same_bits(own, fold_of(trained(toy(only=slot), made_clips()), 0))
        for other in (0, 2):
            assert differ(own, fold_of(stack, other * len(SLOTS) + at))


def test_the_predictions_of_a_seed_among_several_are_those_of_the_seed_alone():
    table, alone = predicted(several(), made_clips()), predicted(toy(4), made_clips())
    assert table.seed.tolist() == np.repeat(SEEDS, len(table) // len(SEEDS)).tolist()
    of_seed = {seed: table.take(table.seed == seed) for seed in SEEDS}
    for slot in SLOTS:
        clips, *figures = rows_of(of_seed[SEED], FOLDS[slot].name)
        expected_clips, *expected = rows_of(alone, FOLDS[slot].name)
        assert clips == expected_clips
        assert_same_bits(figures, expected)
        for other in (SEED - 1, SEED + 1):
            _, probabilities, loss = rows_of(of_seed[other], FOLDS[slot].name)
            assert not np.array_equal(probabilities, figures[0])
            assert not np.array_equal(loss, figures[1]), "the head is chosen by fold and seed"


def smoke(**train):
    config = defaults.get_config("synthetic", "smoke")
    config.seed = 7
    config.train.update(train)
    return config


def test_the_configuration_asks_for_seeds_after_the_first():
    config = smoke(seeds=3)
    folds = setup.make_trainer(config, DATASET).folds
    names = sorted(set(GROUPS))
    assert [fold.title for fold in folds] == [
        f"{name}, seed {seed}" for seed in (7, 8, 9) for name in names
    ]


def test_one_division_of_k_fold_serves_all_seeds():
    config = smoke(seeds=2)
    config.evaluation.protocol, config.evaluation.folds = "k_fold", 2
    folds = setup.make_trainer(config, DATASET).folds
    divisions = [[fold.test.tolist() for fold in folds if fold.seed == seed] for seed in (7, 8)]
    assert divisions[0] == divisions[1]


def test_every_seed_is_one_that_numpy_and_jax_take():
    config = smoke(seeds=2)
    config.seed = 2**32 - 2
    validation.validate(config)
    config.seed += 1
    with pytest.raises(UserError, match=r"beyond 2\*\*32 - 1"):
        validation.validate(config)


def test_a_run_of_other_seeds_is_another_run(tmp_path):
    open_workdir(smoke(), str(tmp_path))
    (tmp_path / "predictions.csv").touch()  # else nothing is lost when another run takes it over
    with pytest.raises(UserError, match=r"train\.seeds: the run has 1, now 2"):
        open_workdir(smoke(seeds=2), str(tmp_path))
    titles = [[fold.title for fold in replicate(FOLDS[:1], [seed])] for seed in (0, 1)]
    with Checkpoints(tmp_path / "checkpoints", titles[0], "made") as kept:
        kept.save(1, jax.device_put(toy(only=0).start))
    with pytest.raises(UserError, match="of other folds"):
        Checkpoints(tmp_path / "checkpoints", titles[1], "made").position()
