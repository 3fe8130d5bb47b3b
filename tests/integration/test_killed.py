"""Whatever ends a training, the same command goes on to the same bits: kill -9 at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import ROOT
from helpers.toy import FOLDS
from mser_jax.storage.checkpoints import Checkpoints
from mser_jax.storage.log import Log

EPOCHS, MANY = 20, 120
UPDATES = 3  # an epoch


class Lives:
    """The process of toy_run.py."""

    def __init__(self):
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests", ROOT))),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "helpers.toy_run"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, folder: Path, epochs: int = EPOCHS, **death: object) -> int:
        """Live once, and give the exit status."""
        assert self.process.stdin
        assert self.process.stdout
        life = {"folder": str(folder), "epochs": epochs, **death}
        print(json.dumps(life), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("status"):
                return int(line.split()[1])
        raise AssertionError("the process is gone")


@pytest.fixture(scope="module")
def live():
    lives = Lives()
    with lives.process:
        yield lives


def uninterrupted(live, folder, epochs):
    folder.mkdir()
    assert live(folder, epochs) == 0
    return states(folder)


@pytest.fixture(scope="module")
def whole(live, tmp_path_factory):
    return uninterrupted(live, tmp_path_factory.mktemp("whole") / "run", EPOCHS)


def states(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "states.npz") as file:
        return dict(file)


def assert_same_states(folder, expected):
    found = states(folder)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def logged(folder) -> list[int]:
    return [event["epoch"] for event in Log(folder / "log.jsonl").read()]


def saved(folder) -> int:
    """Updates."""
    return Checkpoints(folder / "checkpoints", [fold.title for fold in FOLDS], "made").position()


def assert_died_in_training(status, folder, epochs):
    assert status == -signal.SIGKILL
    assert 0 < logged(folder)[-1] < epochs
    assert not (folder / "states.npz").exists()


def kill_again_and_again(live, folder, times, epochs):
    moments = random.Random(7)
    for _ in range(times):
        before = len(logged(folder))
        # By the second epoch's time, as the first one's is that of compiling.
        death = {"after": 2, "part": moments.uniform(0, 2)}
        assert_died_in_training(live(folder, epochs, kill="SIGKILL", **death), folder, epochs)
        assert len(logged(folder)) > before
    assert live(folder, epochs) == 0


def test_killed_at_three_random_moments_it_goes_on_to_the_same_bits(live, whole, tmp_path):
    kill_again_and_again(live, tmp_path, 3, EPOCHS)
    assert_same_states(tmp_path, whole)
    assert logged(tmp_path)[-1] == EPOCHS


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_goes_on_to_the_same_bits(live, tmp_path):
    kill_again_and_again(live, tmp_path, 20, MANY)
    assert_same_states(tmp_path, uninterrupted(live, tmp_path / "whole", MANY))


def test_killed_while_a_checkpoint_is_written_it_goes_on_from_the_one_before(live, whole, tmp_path):
    assert_died_in_training(live(tmp_path, kill="writing", after=3), tmp_path, EPOCHS)
    (half,) = (tmp_path / "checkpoints").glob("*-tmp")
    assert 0 < saved(tmp_path) < int(half.name.partition(".")[0])
    assert live(tmp_path) == 0
    assert not half.exists()
    assert_same_states(tmp_path, whole)


def test_told_to_end_it_saves_first_and_its_status_says_so(live, whole, tmp_path):
    assert live(tmp_path, kill="SIGTERM", after=2, part=0.5) == 130
    done = logged(tmp_path)[-1]
    assert done < EPOCHS
    assert done * UPDATES <= saved(tmp_path) < EPOCHS * UPDATES
    assert live(tmp_path) == 0
    assert logged(tmp_path) == list(range(1, EPOCHS + 1))
    assert_same_states(tmp_path, whole)
