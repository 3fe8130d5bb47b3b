"""How many folds train at once: from the memory of the compiled program."""

import dataclasses

import jax
import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.toy import FOLDS, assert_same_bits, fold_of, toy, trained
from helpers.toy_clips import made_clips
from mser_jax import parallel
from mser_jax.data.feed import Resident
from mser_jax.train import planning
from mser_jax.train.planning import Plan, Program

CLIPS = made_clips()


def of_size(monkeypatch, fixed: int, each: int) -> list[int]:
    """Programs that need `fixed + each * folds` bytes; the folds a device that were compiled."""
    compiled = []

    def compile_steps(trainer, feed):
        folds = trainer.slots // trainer.mesh.devices.size
        compiled.append(folds)
        return Program(print, fixed + each * folds)

    monkeypatch.setattr(planning, "compile_steps", compile_steps)
    return compiled


def choose(folds_per_device=0, limit=1000, devices=1):
    of = toy(devices).trainer
    return planning.choose_plan(of, Resident(CLIPS, of.mesh), folds_per_device, limit)


def test_all_folds_are_at_once_if_they_fit(monkeypatch):
    compiled = of_size(monkeypatch, fixed=100, each=100)
    plan, program = choose()
    assert (plan, program.memory) == (Plan("map", 5), 600)
    assert compiled == [5], "nothing else is compiled"


def test_what_does_not_fit_runs_in_rounds_of_about_the_same_size(monkeypatch):
    compiled = of_size(monkeypatch, fixed=100, each=200)
    plan, program = choose()  # four fit
    assert (plan, program.memory) == (Plan("map", 3), 700)
    assert compiled == [5, 1, 2, 3]
    sizes = [len(each.folds) for each in toy().trainer.rounds(plan.at_once)]
    assert sizes == [3, 2]


def test_on_several_devices_a_round_is_of_all_of_them(monkeypatch):
    of_size(monkeypatch, fixed=100, each=900)
    assert choose(devices=2)[0] == Plan("map", 2)  # one a device: three rounds
    assert choose(devices=4)[0] == Plan("map", 3)


def test_what_was_asked_for_is_done(monkeypatch):
    compiled = of_size(monkeypatch, fixed=100, each=5000)
    assert choose(folds_per_device=2)[0] == Plan("map", 2)
    assert compiled == [2]
    assert choose(folds_per_device=7)[0] == Plan("map", 5)


def test_a_fold_that_does_not_fit_is_refused_with_what_it_needs(monkeypatch):
    of_size(monkeypatch, fixed=2 * 10**9, each=3 * 10**9)
    with pytest.raises(UserError, match=r"needs 5\.0 GB, but a device offers 4\.0 GB\. Fix:"):
        choose(limit=4_000_000_000)


def test_memory_that_grows_faster_than_two_folds_say_makes_rounds_smaller(monkeypatch):
    def compile_steps(trainer, feed):
        return Program(print, 100 * trainer.slots**2)

    monkeypatch.setattr(planning, "compile_steps", compile_steps)
    assert choose(limit=1000)[0] == Plan("map", 3)  # a line through 100 and 400 says four


def test_a_plan_is_kept(tmp_path):
    path = tmp_path / "plan.json"
    assert Plan.read(path) is None
    Plan("vmap", 13).write(path)
    assert Plan.read(path) == Plan("vmap", 13)


@pytest.mark.parametrize("text", ['{"lift": "map", "at_', '{"lift": "map"}', "[]"])
def test_a_plan_that_is_not_whole_is_told_with_a_remedy(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"plan\.json: cannot be read \(.*Fix: remove it"):
        Plan.read(path)


def test_a_plan_that_cannot_be_written_is_told_with_a_remedy(tmp_path):
    with pytest.raises(UserError, match=r"(?s)plan\.json: cannot be written \(.*--workdir"):
        Plan("map", 1).write(tmp_path / "absent" / "plan.json")


def test_the_memory_of_a_program_holds_its_states_once():
    of = toy().trainer
    program = planning.compile_steps(of, Resident(CLIPS, of.mesh))
    sizes = [leaf.nbytes for leaf in jax.tree.leaves((of.init_state(), CLIPS))]
    assert sum(sizes) < program.memory
    twice = dataclasses.replace(of, folds=[*FOLDS, *FOLDS], slots=10)
    more = planning.compile_steps(twice, Resident(CLIPS, of.mesh)).memory - program.memory
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(of.init_state()))
    assert state < more < 1.5 * state + 2000  # the schedule and the metrics
    assert (
        program.total_memory == program.memory + 2 * state // of.mesh.devices.size
    )  # while it is saved


def test_the_memory_of_this_machine_is_a_number_of_bytes():
    one, four = (planning.usable_memory(parallel.fold_mesh(jax.devices()[:n])) for n in (1, 4))
    assert 1e8 < one < 1e14
    assert four == pytest.approx(one / 4, rel=0.2)


@pytest.mark.parametrize("devices", [1, 2])
def test_folds_in_rounds_are_the_folds_all_at_once_to_the_bit(devices):
    expected, seen = trained(toy(4), CLIPS)
    rounds = toy(devices).trainer.rounds(3)
    run = rounds[0].train_steps()
    at = 0
    for of in rounds:
        program = toy(devices)._replace(trainer=of, start=jax.device_get(of.init_state()), run=run)
        state, metrics = trained(program, CLIPS)
        for slot in range(len(of.folds)):
            assert_same_bits(fold_of((state, metrics), slot), fold_of((expected, seen), at))
            at += 1
    assert at == len(FOLDS)
    assert run._cache_size() == 1, "one program serves every round"
    assert np.ptp([of.slots for of in rounds]) == 0
