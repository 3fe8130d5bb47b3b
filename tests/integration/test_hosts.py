"""Several processes train a run as one does, to the bit; the first writes; they end together."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from data_prep.common.errors import UserError
from helpers import ROOT, host_run
from mser_jax import hosts
from mser_jax.storage.log import Log

UPDATES = 3  # an epoch
TRAIN: dict = {}
ASK_FOR_DEVICES = """
import os, jax
from mser_jax import hosts
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
hosts.use_cores()
print(len(jax.devices()))
"""


def environment(**more: str) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    return inherited | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests", ROOT)))} | more


class Processes:
    """The process of host_run.py."""

    def __init__(self):
        cached = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "helpers.host_run"],
            env=environment(JAX_NUM_CPU_DEVICES="2", **cached),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, folder: Path, *wishes: dict) -> list[int]:
        """Run one process a wish, and give their exit statuses."""
        assert self.process.stdin
        assert self.process.stdout
        run = {"folder": str(folder), "processes": wishes}
        print(json.dumps(run), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("statuses"):
                return [int(status) for status in line.split()[1:]]
        raise AssertionError("the process is gone")


@pytest.fixture(scope="module")
def run():
    processes = Processes()
    with processes.process:
        yield processes


@pytest.fixture
def steps(monkeypatch):
    """The calls of host_run.py in this process, too."""
    monkeypatch.setattr(host_run.loop, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, np.ndarray]:
    """What one process of as many devices gives."""
    assert len(jax.devices()) == 4
    return host_run.train(host_run.engine(tmp_path_factory.mktemp("alone")))


@pytest.fixture(scope="module")
def told_to_end(run, tmp_path_factory) -> tuple[Path, list[int]]:
    """The folder of a run whose second process was told to end, and the statuses of both."""
    folder = tmp_path_factory.mktemp("told")
    return folder, run(folder, TRAIN, {"signal": "SIGTERM", "epoch": 1})


def assert_same(found, expected: dict[str, np.ndarray]):
    assert {*found} == {*expected}
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, name)


def left_by(folder: Path, number: int):
    return np.load(folder / f"{number}.npz")


def epochs(folder: Path) -> list[tuple[int, int]]:
    """(round, epoch) of every line of the log."""
    events = Log(folder / "log.jsonl").read()
    return [(event["round"], event["epoch"]) for event in events if event["event"] == "epoch"]


EVERY_EPOCH = [(number, epoch) for number in (1, 2) for epoch in range(1, host_run.EPOCHS + 1)]


def test_one_process_told_to_end_ends_both_after_saving_in_the_midst_of_an_epoch(told_to_end):
    folder, statuses = told_to_end
    assert statuses == [130, 130]
    assert epochs(folder) == [(1, 1)]
    (first, _) = host_run.engine(folder).rounds()
    assert 1 * UPDATES < first.checkpoints.position() < 2 * UPDATES


@pytest.mark.parametrize("processes", [2, 1])
def test_they_go_on_to_the_same_bits_as_many_as_they_were_or_one_alone(
    processes, told_to_end, run, alone, steps, tmp_path
):
    folder = shutil.copytree(told_to_end[0], tmp_path / "run")
    if processes == 1:
        assert_same(host_run.train(host_run.engine(folder)), alone)
    else:
        assert run(folder, TRAIN, TRAIN) == [0, 0]
        for number in (0, 1):
            assert_same(left_by(folder, number), alone)
    assert np.isfinite(alone["logits"]).all()
    assert epochs(folder) == EVERY_EPOCH
    told = next(event for event in Log(folder / "log.jsonl").read() if event["event"] == "train")
    assert (told["devices"], told["folds_per_device"], told["rounds"]) == (4, 2, 2)


def test_where_the_first_process_fails_the_others_end_too(run, tmp_path, capfd):
    assert run(tmp_path, {"fails": True}, TRAIN) == [2, 2]
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("asked", "cores", "devices"), [(None, 1, 2), (None, 6, 6), ("1", 6, None)]
)
def test_a_cpu_is_as_many_devices_as_it_has_cores_unless_told_otherwise(
    asked, cores, devices, monkeypatch
):
    told = {}
    monkeypatch.setattr(hosts, "_cores", lambda: cores)
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    if asked:
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", asked)
    hosts.use_cores()
    assert told == ({"jax_num_cpu_devices": devices} if devices else {})


def test_one_core_is_two_devices():
    asked = [sys.executable, "-c", ASK_FOR_DEVICES]
    done = subprocess.run(
        asked, env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) == 2


def test_a_machine_without_the_devices_that_were_asked_for_is_told_so(monkeypatch):
    def none():
        raise AssertionError  # as JAX does for 'cuda'

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError, match=r"'cuda': JAX .* \(none of that kind\)\. Fix:"):
        hosts.check_devices()
