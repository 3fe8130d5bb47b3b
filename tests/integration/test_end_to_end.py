"""The whole path as a user runs it, with every module of the network, only very small."""

import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.common.cv import cv2
from data_prep.synthetic.clips import Spec, SyntheticSource
from helpers import ROOT

SUBJECTS, CLIPS, EPOCHS = 3, 4, 8
SMALL = (
    "--config=configs/synthetic.py",
    f"--config.synthetic.subjects={SUBJECTS}",
    f"--config.synthetic.clips_per_subject={CLIPS}",
    "--config.synthetic.size=64",
    "--config.synthetic.fps=50",
    "--config.prep.size=32",
    "--config.prep.steps=4",
    "--config.data.workers=1",
    "--config.model.width=4",
    "--config.model.head.hidden=8",
    f"--config.train.epochs={EPOCHS}",
)


@dataclasses.dataclass
class Place:
    """Folders of a run, and the command in them."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run"

    def command(self, *more: str) -> list[str]:
        folders = (f"--config.data.data_dir={self.root / 'data'}", f"--workdir={self.run}")
        return [sys.executable, "-m", "mser_jax.main", *SMALL, *folders, *more]

    def __call__(self, *more: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*more), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def events(self, kind: str) -> list[dict]:
        log = self.run / "log.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["event"] == kind]

    def rows(self) -> list[dict[str, str]]:
        with (self.run / "predictions.csv").open(encoding="utf-8") as file:
            return list(csv.DictReader(file))


def updates(place: Place) -> int:
    """Of an epoch."""
    return place.events("train")[-1]["updates_per_epoch"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def first(place) -> subprocess.CompletedProcess[str]:
    return place()


def test_one_command_leaves_everything_that_the_readme_names(place, first):
    files = ("report.html", "predictions.csv", "metrics.json", "confusion.png", "curves.png")
    for name in (*files, "config.json", "log.jsonl"):
        assert (place.run / name).stat().st_size, name
    assert (place.run / "checkpoints" / "round-1" / str(EPOCHS * updates(place))).is_dir()
    rows = place.rows()
    subjects = [f"s{number:02d}" for number in range(SUBJECTS)]
    assert sorted(row["subject"] for row in rows) == sorted(subjects * CLIPS)
    assert len({(row["subject"], row["clip"]) for row in rows}) == len(rows)
    assert all(row["fold"] == f"synthetic/{row['subject']}" for row in rows)
    assert "train_loss_head4" in rows[0], "the network has four heads"
    assert [event["epoch"] for event in place.events("epoch")] == list(range(1, EPOCHS + 1))


def test_the_command_ends_with_the_table_the_report_and_the_time(place, first):
    lines = first.stdout.rstrip().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Time: prepare clips "))
    assert " ".join(lines[at:]).endswith("s in all.")
    assert lines[at - 1] == f"Report: {place.run / 'report.html'}"
    accuracy = json.loads((place.run / "metrics.json").read_text())["accuracy"]
    (answer,) = (line for line in lines if line.startswith("confidence *"))
    assert answer.split()[2] == f"{accuracy:.3f}"
    assert all(len(line) < 80 for line in lines if str(place.root) not in line)


def test_a_second_run_says_what_it_reuses(place, first):
    rows = place.rows()
    again = place().stdout
    for part in ("data/synthetic", "run/checkpoints", "run/predictions.csv"):
        assert any(line.startswith("Reused") and part in line for line in again.splitlines())
    assert re.search(r"train \d+ s \(reused\)", " ".join(again.split()))
    assert len(place.events("epoch")) == EPOCHS
    assert place.rows() == rows


def test_the_report_is_made_anew_from_the_predictions(place, first):
    for name in ("report.html", "metrics.json"):
        (place.run / name).unlink()
    done = place("--mode=report")
    assert "confidence *" in done.stdout
    assert (place.run / "report.html").is_file()


def of_mser_jax(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"mser_jax.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_model_is_trained_on_all_clips_exported_and_asked(place, first):
    report = (place.run / "report.html").read_text(encoding="utf-8")
    told = place("--mode=final").stdout
    assert f"Trained on all {SUBJECTS * CLIPS} clips" in told
    assert re.search(r"train \d+ s \(reused\)", " ".join(place("--mode=final").stdout.split()))
    assert (place.run / "report.html").read_text(encoding="utf-8") == report
    model = place.root / "model"
    scores = json.loads((place.run / "metrics.json").read_text())
    assert f"UF1 {scores['uf1']:.3f}" in of_mser_jax("export", place.run, model).stdout
    assert json.loads((model / "model.json").read_text())["figures"]["uf1"] == scores["uf1"]

    clip = SyntheticSource(Spec(0, 1, 1, 96, 50.0, (2.0, 3.0)))
    (entry,) = clip.entries()
    shown = clip.load(entry)
    frames = place.root / "clip"
    frames.mkdir()
    for number, frame in enumerate(shown.frames):
        cv2.imwrite(str(frames / f"{number:04d}.png"), frame[..., ::-1])
    np.savetxt(place.root / "points.csv", np.asarray(shown.landmarks), delimiter=",")
    marks = ("--fps=50", f"--onset={shown.onset}", f"--offset={shown.offset}")
    out = place.root / "answers"
    rest = (f"--landmarks={place.root / 'points.csv'}", f"--out={out}", "--reasons")
    of_mser_jax("predict", model, frames, *marks, *rest)
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (int(row["onset"]), int(row["offset"])) == (shown.onset, shown.offset)
    assert row["class"] in scores["class_names"]
    (page,) = out.glob("clip-onset*-offset*/reason-*.html")
    assert page.stat().st_size


def test_a_folder_is_not_shared_by_other_settings(place, first):
    told = place("--config.train.batch_size=4", status=2).stderr
    assert "train.batch_size: the run has 8, now 4" in told
    assert "--workdir" in told
    assert json.loads((place.run / "config.json").read_text())["train"]["batch_size"] == 8


def test_an_interrupted_run_goes_on_to_the_same_predictions(place, first, tmp_path):
    stopped = Place(tmp_path)
    shutil.copytree(place.root / "data", stopped.root / "data")
    process = subprocess.Popen(
        stopped.command(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not stopped.events("epoch"):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "Run the same command again to continue" in told
    done = len(stopped.events("epoch"))
    assert 0 < done < EPOCHS
    assert os.listdir(stopped.run / "checkpoints" / "round-1")

    assert re.search(rf"Resuming after epoch ({done}|{done + 1})\b", stopped().stdout)
    assert stopped.rows() == place.rows()


def on_cpus(devices: int, **more: object) -> dict[str, str]:
    fields = {"JAX_NUM_CPU_DEVICES": devices} | more
    return os.environ | {name: str(value) for name, value in fields.items()}


def finished(*processes: subprocess.Popen[str]) -> list[str]:
    """What each printed; one that fails or does not end takes the others with it."""
    printed = []
    try:
        for process in processes:
            out, told = process.communicate(timeout=500)
            assert process.returncode == 0, told
            printed.append(out)
    finally:
        for process in processes:
            process.kill()
    return printed


@pytest.mark.slow
def test_two_processes_leave_the_bytes_of_one(tmp_path):
    alone, together = Place(tmp_path / "alone"), Place(tmp_path / "together")

    def started(place: Place, env: dict[str, str], *more: str) -> subprocess.Popen[str]:
        command, pipe = place.command(*more), subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)

    with socket.create_server(("localhost", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    shared = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": 2}
    first, second = finished(
        *(
            started(together, on_cpus(2, **shared, JAX_PROCESS_ID=number), "--distributed")
            for number in (0, 1)
        )
    )
    finished(started(alone, on_cpus(4)))
    assert "confidence *" in first
    assert "Run: " in first
    assert "Run: " not in second
    one, other = (place.run / "predictions.csv" for place in (alone, together))
    assert one.read_bytes() == other.read_bytes()
    assert [event["epoch"] for event in together.events("epoch")] == list(range(1, EPOCHS + 1))
    assert together.events("train")[0]["devices"] == 4
