"""The pipeline over small made-up clips: cache, resume, quarantine, processes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from data_prep import cache, pipeline, record
from data_prep.clip import Clip
from data_prep.errors import UserError

RECIPE = {
    "size": 18,
    "steps": 3,
    "stages": ["face", "magnify", "keyframes"],
    "face": {"points": "box", "per_frame": False, "model": ""},
    "magnify": {
        "alpha": 2.0,
        "band": [1.0, 20.0],
        "filter": "ideal",
        "wavelength": 8.0,
        "levels": 2,
    },
    "keyframes": {"rule": "uniform", "radius": 1},
    "flow": {
        "reference": "first",
        "smoothness": 0.15,
        "tightness": 0.3,
        "scales": 1,
        "warps": 1,
        "iterations": 2,
        "median": False,
    },
}
SIDE = 18 + 2 * 2


@dataclasses.dataclass(frozen=True)
class NumberedEntry:
    number: int
    key: str = "1"

    @property
    def name(self) -> str:
        return f"noise/s{self.number % 2}/{self.number}"


class NoiseSource:
    """Clips of noise; those in `bad` cannot be loaded, those in `broken` have a fault."""

    name = "noise"
    class_names: tuple[str, ...] = ("calm", "wild")

    def __init__(self, count: int, bad=(), broken=(), deadly=()):
        self.count, self.bad, self.broken, self.deadly = count, bad, broken, deadly

    def entries(self):
        return [NumberedEntry(number) for number in range(self.count)]

    def load(self, entry):
        if entry.number in self.bad:
            raise UserError(f"{entry.name}: frame 7 is absent.")
        if entry.number in self.broken:
            raise ZeroDivisionError("a fault")
        if entry.number in self.deadly:
            os._exit(1)
        rng = np.random.default_rng(entry.number)
        return Clip(
            frames=rng.integers(0, 256, (12, 30, 26), np.uint8),
            fps=100.0,
            onset=1,
            apex=5 if entry.number else None,
            offset=9,
            subject=f"s{entry.number % 2}",
            clip_id=f"clip {entry.number} é",
            label=self.class_names[entry.number % 2],
            emotion="Sérénité",
            dataset=self.name,
        )


@pytest.fixture
def plain_flow(monkeypatch):
    """A flow that needs no compilation: the differences to the first key frame."""

    def with_flow(partial, frames, recipe):
        flow = np.stack([frames[1:] - frames[:1]] * 2, axis=-1)
        return {"flow": flow.astype(np.float16), **partial}

    monkeypatch.setattr(record, "with_flow", with_flow)


def run(source, folder, recipe=RECIPE, workers=1) -> list[Any]:
    entries = source.entries()
    return list(pipeline.run(source, entries, recipe, cache_dir=folder, workers=workers))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.npz")}


def test_record_has_the_promised_types_and_order(tmp_path, plain_flow):
    outcomes = run(NoiseSource(3), tmp_path)
    assert [outcome.name for outcome in outcomes] == ["noise/s0/0", "noise/s1/1", "noise/s0/2"]
    made = outcomes[1].record
    assert made["flow"].shape == (3, SIDE, SIDE, 2)
    assert made["flow"].dtype == np.float16
    assert made["frames"].shape == (4, SIDE, SIDE, 1)
    assert made["frames"].dtype == np.uint8
    texts = ("noise", "s1", "clip 1 é", "Sérénité")
    assert tuple(made[name] for name in ("dataset", "subject", "clip_id", "emotion")) == texts
    assert (made["label"], made["onset"], made["apex"], made["offset"]) == (1, 1, 5, 9)
    assert made["fps"] == 100.0
    assert 0 < made["apex_index"] < 3
    assert (outcomes[0].record["apex"], outcomes[0].record["apex_index"]) == (-1, -1)


def test_cached_clips_are_reused_and_equal(tmp_path, plain_flow):
    first = run(NoiseSource(3), tmp_path)
    second = run(NoiseSource(3), tmp_path)
    assert not any(outcome.reused for outcome in first)
    assert all(outcome.reused for outcome in second)
    for before, after in zip(first, second):
        assert before.record.keys() == after.record.keys()
        for name, value in before.record.items():
            np.testing.assert_array_equal(value, after.record[name], strict=True)


def test_interrupted_run_goes_on_where_it_stopped(tmp_path, plain_flow):
    source = NoiseSource(4)
    half = pipeline.run(source, source.entries(), RECIPE, cache_dir=tmp_path, workers=1)
    next(half)
    next(half)
    half.close()
    assert [outcome.reused for outcome in run(source, tmp_path)] == [True, True, False, False]


@pytest.mark.parametrize("change", ["recipe", "key", "classes"])
def test_another_recipe_source_or_class_list_is_made_anew(tmp_path, plain_flow, change):
    source = NoiseSource(1)
    run(source, tmp_path)
    recipe, entries = dict(RECIPE), source.entries()
    if change == "recipe":
        recipe["magnify"] = {**RECIPE["magnify"], "alpha": 3.0}
    elif change == "key":
        entries = [NumberedEntry(0, key="2")]
    else:
        source.class_names = ("wild", "calm")
    (outcome,) = pipeline.run(source, entries, recipe, cache_dir=tmp_path, workers=1)
    assert not outcome.reused


def test_damaged_cache_file_is_made_anew(tmp_path, plain_flow):
    (before,) = run(NoiseSource(1), tmp_path)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:1000])
    (after,) = run(NoiseSource(1), tmp_path)
    assert not after.reused
    np.testing.assert_array_equal(before.record["flow"], after.record["flow"])


def test_record_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        args[0].write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        cache.write(tmp_path / "clip.npz", {"flow": np.zeros(3), "label": 1})
    assert list(tmp_path.iterdir()) == []


def test_same_bytes_for_one_process_and_two_workers(tmp_path):
    source = NoiseSource(5)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    names = [outcome.name for outcome in run(source, alone, workers=0)]
    assert [outcome.name for outcome in run(source, shared, workers=2)] == names
    assert len(contents(alone)) == 5
    assert contents(alone) == contents(shared)


def test_failing_clips_are_set_aside_and_the_others_go_on(tmp_path, plain_flow):
    source = NoiseSource(4, bad=[1], broken=[2])
    tally, file = pipeline.Tally(), tmp_path / "quarantine.jsonl"
    file.write_text("from an earlier run\n")
    good = list(pipeline.good_records(run(source, tmp_path), tally, file))
    assert [made["clip_id"] for made in good] == ["clip 0 é", "clip 3 é"]
    assert (tally.written, tally.made, tally.reused) == (2, 2, 0)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["clip"] for line in lines] == ["noise/s1/1", "noise/s0/2"]
    assert lines[0]["reason"] == "noise/s1/1: frame 7 is absent."
    assert lines[1]["reason"] == "ZeroDivisionError: a fault"
    assert "in load" in lines[1]["details"]
    assert tally.quarantined == {line["clip"]: line["reason"] for line in lines}


def test_flow_that_is_not_finite_is_set_aside(tmp_path, monkeypatch):
    def with_flow(partial, frames, recipe):
        return {"flow": np.full((3, SIDE, SIDE, 2), np.nan, np.float16), **partial}

    monkeypatch.setattr(record, "with_flow", with_flow)
    (outcome,) = run(NoiseSource(1), tmp_path)
    assert outcome.record is None
    assert "not finite" in outcome.reason
    assert contents(tmp_path) == {}


def test_dead_worker_gives_a_remedy_and_keeps_what_is_finished(tmp_path, plain_flow):
    source = NoiseSource(8, deadly=[7])
    with pytest.raises(UserError, match="workers=1"):
        run(source, tmp_path, workers=2)
    assert contents(tmp_path)


def test_interrupt_in_the_parent_ends_the_workers(tmp_path, monkeypatch):
    def interrupted(partial, frames, recipe):
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "with_flow", interrupted)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(NoiseSource(4), tmp_path, workers=2)
    assert time.monotonic() - start < 30
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "ExecutorManager" in name]


def test_workers_import_no_jax_and_leave_ctrl_c_to_the_parent(tmp_path):
    # As the main module of the training does, this one imports jax; a child would import it again.
    main = tmp_path / "main.py"
    main.write_text(
        "import jax\n"
        "from data_prep import record, workers\n"
        "modules = \"__import__('sys').modules\"\n"
        "mask = \"__import__('signal').pthread_sigmask(0, [])\"\n"
        "with workers.executor(2) as pool:\n"
        "    pool.submit(record.canonical, {}).result()\n"
        "    print(*(pool.submit(eval, f'{x!r} in {modules}').result()"
        " for x in ('jax', 'data_prep.record')))\n"
        "    print(pool.submit(eval, mask).result())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])}
    done = subprocess.run(
        [sys.executable, main], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout.splitlines() == ["False True", f"{{{signal.SIGINT!r}}}"], done.stderr


def test_stages_run_in_the_order_of_the_recipe(tmp_path, plain_flow):
    listed = run(NoiseSource(1), tmp_path, {**RECIPE, "stages": ["face", "keyframes", "magnify"]})
    usual = run(NoiseSource(1), tmp_path)
    assert not np.array_equal(listed[0].record["frames"], usual[0].record["frames"])


def test_bar_fits_80_columns(tmp_path, plain_flow, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    outcomes = run(NoiseSource(2), tmp_path)
    assert list(pipeline.progress(outcomes, 2, "Preparing synthetic")) == outcomes
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert max(map(len, shown.replace("\n", "\r").split("\r"))) < 80
