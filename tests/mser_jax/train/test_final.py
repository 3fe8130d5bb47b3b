"""The network on all clips: what is refused, and what is kept. The whole is in test_end_to_end."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers.toy import trainer
from helpers.toy_clips import GROUPS, NAMES, made_clips
from mser_jax.config import defaults
from mser_jax.data import folds
from mser_jax.data.dataset import Dataset
from mser_jax.data.feed import Resident
from mser_jax.experiments import run
from mser_jax.storage import weights
from mser_jax.storage.log import Log
from mser_jax.train import final, loop
from mser_jax.train.engine import Engine
from mser_jax.train.monitor import Monitor
from mser_jax.train.planning import Plan


def test_the_one_fold_has_every_clip_and_tests_none():
    fold = folds.all_clips_fold(5, 3)
    assert fold.train.tolist() == [0, 1, 2, 3, 4]
    assert not fold.test.size
    assert fold.seed == 3


def test_what_is_no_network_is_refused_before_anything_is_prepared(tmp_path):
    config = defaults.get_config("megc2019", "svm_linear")
    with pytest.raises(UserError, match=r"svm_linear is not a network.*Fix"):
        run.run(config, str(tmp_path / "run"), "final")


def test_without_a_final_training_the_remedy_is_named(tmp_path):
    with pytest.raises(UserError, match="--mode=final"):
        final.read_facts(tmp_path)
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "weights.safetensors").touch()
    for content in ("{", "[]", "{}", "3"):
        (tmp_path / "final" / "final.json").write_text(content)
        with pytest.raises(UserError, match=r"cannot be read.*--mode=final"):
            final.read_facts(tmp_path)


KNOWN = {"command": "c", "date": "d", "versions": {}, "fingerprint": {}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An engine that has trained the toy on every clip, and its clips."""
    home = tmp_path_factory.mktemp("run") / "final"
    home.mkdir()
    clips = made_clips()
    of = trainer(epochs=2, checkpoint_every=1)
    of = dataclasses.replace(of, folds=[folds.all_clips_fold(len(GROUPS), 0)], weights=None).rounds(
        1
    )[0]
    count = len(GROUPS)
    dataset = Dataset(
        clips=clips,
        dataset=np.array(["made"] * count),
        subject=np.array([group.split("/")[-1] for group in GROUPS]),
        clip=np.array([str(at) for at in range(count)]),
        class_names=tuple("abcdefg"[: of.classes]),
        digest="d",
        dropped={},
        release={},
        repaired={},
    )
    feed = Resident(clips, of.mesh)
    engine = Engine(of, feed, NAMES, "made", home, 2)
    Plan(of.lift, 1).write(home / "plan.json")
    (only,) = engine.rounds()
    log = Log(home / "log.jsonl")
    state = loop.train(
        only.trainer, only.trainer.train_steps(), feed, only.checkpoints, Monitor(log, of, NAMES)
    )
    return home, engine, dataset, state


def test_what_is_kept_is_the_state_after_the_last_epoch(trained):
    home, engine, dataset, state = trained
    assert not final.is_saved(home, engine)
    final.save(home, engine, np.asarray(dataset.clips.labels), dataset.facts(), KNOWN)
    assert final.is_saved(home, engine)
    params, _ = weights.load(home / "weights.safetensors", engine.trainer.network)
    one = [np.asarray(leaf)[0] for leaf in jax.tree.leaves(state.params)]
    for kept, wanted in zip(jax.tree.leaves(params), one):
        np.testing.assert_array_equal(kept, wanted)
    facts = final.read_facts(home.parent)
    assert facts["clips"] == len(GROUPS)
    assert facts["subjects"] == len(set(GROUPS))
    assert sum(facts["per_class"].values()) == len(GROUPS)
    assert facts["command"] == "c"
    assert len(facts["train_loss"]) == engine.trainer.heads
    assert json.loads((home / "final.json").read_text()) == facts


def test_a_training_that_diverged_leaves_no_network(trained, monkeypatch):
    home, engine, dataset, state = trained
    broken = state._replace(failed=0 * state.failed + 1)
    monkeypatch.setattr("mser_jax.train.engine.Round.restore", lambda self: broken)
    with pytest.raises(UserError, match=r"diverged in epoch 2.*Fix"):
        final.save(home, engine, np.asarray(dataset.clips.labels), dataset.facts(), KNOWN)
