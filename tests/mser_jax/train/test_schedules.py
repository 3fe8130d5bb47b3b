import numpy as np
import pytest

from helpers.toy import trainer
from mser_jax.train.optimizer import SCHEDULES, learning_rate

C1, C2, C3 = (0.5 + 0.5 * np.cos(np.pi * part / 4) for part in (1, 2, 3))

# Of the base: six epochs of each schedule, without a warm-up and with one of two epochs.
WRITTEN_OUT = {
    ("constant", 0): [1, 1, 1, 1, 1, 1],
    ("constant", 2): [1 / 3, 2 / 3, 1, 1, 1, 1],
    ("cosine", 0): [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873],
    ("cosine", 2): [1 / 3, 2 / 3, 1, C1, C2, C3],
    ("step", 0): [1, 1, 0.1, 0.1, 0.01, 0.01],
    ("step", 2): [1 / 3, 2 / 3, 1, 1, 0.1, 0.01],
    ("tenths", 0): [1, 0.9, 0.81, 0.729, 0.6561, 0.59049],
    ("tenths", 2): [1 / 3, 2 / 3, 1, 0.9, 0.81, 0.729],
}


def rates(schedule, epochs, warmup, base=2e-3, of=None):
    of = range(epochs) if of is None else of
    given = {"base": base, "schedule": schedule, "epochs": epochs, "warmup": warmup}
    return [learning_rate(epoch, **given) for epoch in of]


@pytest.mark.parametrize(("schedule", "warmup"), WRITTEN_OUT)
def test_rates_are_those_written_out(schedule, warmup):
    wanted = 2e-3 * np.array(WRITTEN_OUT[schedule, warmup])
    np.testing.assert_allclose(rates(schedule, 6, warmup), wanted, rtol=1e-5)


def test_constant_rate_is_the_base_itself():
    assert rates("constant", 3, 0, base=1e-5) == [1e-5] * 3


def test_cosine_ends_at_nothing_just_after_the_last_epoch():
    assert rates("cosine", 8, 3, of=[8]) == [0]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (2, 1), (7, 3), (100, 99)])
def test_no_epoch_is_lost_to_a_rate_of_nothing_and_none_exceeds_the_base(schedule, epochs, warmup):
    made = rates(schedule, epochs, warmup)
    assert all(type(rate) is float for rate in made)
    assert min(made) > 0
    assert made[warmup] == pytest.approx(2e-3) == max(made)
    assert np.all(np.diff(made[: warmup + 1]) > 0)
    assert np.all(np.diff(made[warmup:]) <= 0)


def test_half_of_the_rate_is_left_after_every_ten_epochs():
    wanted = 2e-3 * np.repeat([1, 0.5, 0.25], 10)
    np.testing.assert_allclose(rates("halves", 30, 0), wanted, rtol=1e-5)


def test_the_steps_of_an_epoch_are_given_the_rate_of_that_epoch():
    toy = trainer(epochs=6, schedule="cosine", warmup=2, learning_rate=2e-3)
    given = [float(toy.step_range(epoch, 0, 1).learning_rate) for epoch in range(6)]
    np.testing.assert_allclose(given, 2e-3 * np.array(WRITTEN_OUT["cosine", 2]), rtol=1e-5)
