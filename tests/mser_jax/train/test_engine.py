"""All folds of a run through the engine: rounds, plans, answers, failures."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.toy import FOLDS, assert_same_bits, fold_of, toy, trained
from helpers.toy_clips import (
    DATASET,
    GROUPS,
    NAMES,
    STEP,
    made_clips,
    streamed,
    with_an_endless_clip,
)
from mser_jax.data.feed import Resident
from mser_jax.evaluate import inflated
from mser_jax.experiments import held_out
from mser_jax.storage import history
from mser_jax.storage.log import Log
from mser_jax.train import planning
from mser_jax.train.engine import Engine
from mser_jax.train.evaluator import Evaluator
from mser_jax.train.planning import Plan

CLIPS = made_clips()
EPOCHS = 2


def engine(folder, devices=2, feed=None, clips=CLIPS, **settings) -> Engine:
    of = toy(devices).trainer
    settings = dataclasses.replace(of.settings, **{"epochs": EPOCHS} | settings)
    of = dataclasses.replace(of, settings=settings)
    return Engine(of, feed or Resident(clips, of.mesh), NAMES, "made", folder, 2)


def train(of: Engine, **others) -> list[dict]:
    options = {"limit": 10**9, "flops_per_clip": 1e6} | others
    of.train(Log(of.folder / "log.jsonl"), **options)
    return Log(of.folder / "log.jsonl").read()


def states(of: Engine):
    """Of every fold, in order."""
    folds = [
        fold_of(jax.device_get(each.restore()), slot)
        for each in of.rounds()
        for slot in range(len(each.trainer.folds))
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *folds)


@pytest.fixture(scope="module")
def expected():
    """The states of all folds after as many epochs, and their log by epoch."""
    state, _ = trained(toy(4), CLIPS, EPOCHS)
    return jax.tree.map(lambda leaf: leaf[: len(FOLDS)], state)


@pytest.fixture(scope="module")
def in_rounds(tmp_path_factory):
    of = engine(tmp_path_factory.mktemp("rounds"), devices=1)
    return of, train(of, folds_per_device=2, inflated=True)


def test_rounds_give_the_states_of_all_folds_at_once(in_rounds, expected):
    of, _ = in_rounds
    assert [len(each.trainer.folds) for each in of.rounds()] == [2, 2, 1]
    assert not any(each.updates_left() for each in of.rounds())
    assert_same_bits(states(of), expected)


def test_the_log_of_rounds_reads_as_one_training(in_rounds, tmp_path):
    _, events = in_rounds
    whole = train(engine(tmp_path, devices=4))
    one, all_rounds = history.epochs(whole), history.epochs(events)
    assert [event["epoch"] for event in all_rounds] == [1, 2]
    for alone, merged in zip(one, all_rounds, strict=True):
        assert merged["fold_loss"] == alone["fold_loss"]
        assert merged["loss"] == pytest.approx(alone["loss"])
        assert merged["head_choice"] == pytest.approx(alone["head_choice"])
    (told,) = (event for event in events if event["event"] == "train")
    assert (told["rounds"], told["folds_per_device"], told["devices"]) == (3, 2, 1)
    assert told["data"] == "resident"
    assert told["peak_flops"] > 1e8


def test_the_time_left_is_that_of_all_rounds(in_rounds):
    _, events = in_rounds
    left = [event["seconds_left"] for event in events if event["event"] == "epoch"]
    assert left[-1] == 0
    assert all(seconds > 0 for seconds in left[:-1])


def test_what_a_run_began_with_is_kept(in_rounds, tmp_path, expected, capsys):
    of, _ = in_rounds
    assert Plan.read(of.folder / "plan.json") == Plan("map", 2)
    begun = engine(tmp_path, devices=1, epochs=1)
    train(begun, folds_per_device=2)
    on = engine(tmp_path, devices=2)
    assert "as when training began" not in capsys.readouterr().out
    events = train(on, folds_per_device=5)  # as it began, on other devices, whatever is asked now
    assert "2 folds at once (map), as when training began;" in capsys.readouterr().out
    assert [len(each.trainer.folds) for each in on.rounds()] == [2, 2, 1]
    assert events[-1]["round"] == 3
    assert_same_bits(states(on), expected)


def test_a_plan_that_no_training_followed_is_made_anew(tmp_path):
    Plan("vmap", 1).write(tmp_path / "plan.json")
    train(engine(tmp_path, devices=4))
    assert Plan.read(tmp_path / "plan.json") == Plan("map", 5)


def test_memory_decides_how_many_folds_train_at_once(tmp_path, monkeypatch):
    compiled = planning.compile_steps

    def large(trainer, feed):
        return dataclasses.replace(
            compiled(trainer, feed), memory=100 * trainer.slots, copies_memory=0
        )

    monkeypatch.setattr(planning, "compile_steps", large)
    of = engine(tmp_path, devices=1)
    train(of, limit=350)
    assert [len(each.trainer.folds) for each in of.rounds()] == [3, 2]


def test_streamed_clips_give_the_same_states_and_answers(in_rounds, tmp_path, expected):
    mesh = toy(2).trainer.mesh
    of = engine(tmp_path, feed=streamed(mesh, room=2 * STEP)[0])
    events = train(of)
    assert next(event for event in events if event["event"] == "train")["data"] == "streamed"
    assert_same_bits(states(of), expected)
    np.testing.assert_allclose(of.logits(), in_rounds[0].logits(), rtol=1e-5, atol=1e-6)


def test_what_the_epochs_say_of_held_out_clips_ends_in_the_predictions(in_rounds):
    of, _ = in_rounds
    table = held_out.predictions_from_logits(of.trainer.folds, of.logits(), DATASET)
    said = inflated.read(of.folder, table, EPOCHS)
    assert said.shape == (EPOCHS, *table.probabilities.shape)
    np.testing.assert_allclose(said[-1], table.probabilities, rtol=1e-4, atol=1e-6)
    assert not np.allclose(said[0], said[-1], atol=1e-3)
    told = inflated.write(of.folder, table, EPOCHS, "confidence")
    assert json.loads((of.folder / "metrics_inflated.json").read_text()) == told


def test_a_fold_that_failed_has_no_answer_and_the_others_have(tmp_path):
    of = engine(tmp_path, clips=with_an_endless_clip())
    train(of)
    said = of.logits()
    fine = next(slot for slot, group in enumerate(sorted(set(GROUPS))) if group == GROUPS[3])
    for slot, logits in enumerate(said):
        assert np.isnan(logits).all() == (slot != fine)
    table = held_out.predictions_from_logits(of.trainer.folds, said, DATASET)
    assert table.failed.tolist() == (table.fold != FOLDS[fine].name).tolist()


def test_a_round_of_which_every_fold_fails_does_not_end_the_others(in_rounds, tmp_path, capsys):
    of = engine(tmp_path, devices=1, clips=with_an_endless_clip())
    events = train(of, folds_per_device=1, inflated=True)
    assert not any(each.updates_left() for each in of.rounds())
    assert "every fold has diverged" in capsys.readouterr().err
    (fine,) = np.flatnonzero([group == GROUPS[3] for group in sorted(set(GROUPS))])
    assert np.flatnonzero(np.isfinite(of.logits()).all(axis=(1, 2, 3))).tolist() == [fine]
    last, whole = history.epochs(events)[-1], history.epochs(in_rounds[1])[-1]
    assert [loss is not None for loss in last["fold_loss"]] == [at == fine for at in range(5)]
    assert last["loss"] == last["fold_loss"][fine] == whole["fold_loss"][fine]
    table = held_out.predictions_from_logits(of.trainer.folds, of.logits(), DATASET)
    assert inflated.read(of.folder, table, EPOCHS).shape[0] == EPOCHS


def test_one_compiled_program_answers_for_all_rounds(in_rounds):
    of, _ = in_rounds
    one, other, *_ = (each.trainer for each in of.rounds())
    answers = Evaluator(one, of.feed)
    said = answers.for_trainer(other).held_out_logits(other.init_state())
    assert [len(each) for each in said] == [len(fold.test) for fold in other.folds]
    expected = Evaluator(other, of.feed).held_out_logits(other.init_state())
    for told, alone in zip(said, expected, strict=True):
        np.testing.assert_array_equal(told, alone)


def test_a_disk_that_does_not_take_the_answers_of_an_epoch_ends_with_a_remedy(tmp_path):
    (tmp_path / "inflated").write_text("a file where the folder would be")
    with pytest.raises(UserError, match=r"cannot be written \(.*the same command"):
        train(engine(tmp_path), inflated=True)
