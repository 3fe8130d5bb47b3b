"""The pipeline over small made-up clips: cache of stages, resume, quarantine, processes."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.pipeline import cache, record
from data_prep.pipeline import clips as pipeline
from data_prep.stages.table import STAGES
from helpers.noise import RECIPE, NoiseSource, NumberedEntry, with_flow

SIDE = 18 + 2 * 2


@pytest.fixture
def plain_flow(monkeypatch):
    monkeypatch.setattr(record, "with_flow", with_flow)


@pytest.fixture
def called(monkeypatch) -> list[str]:
    """The names of what runs, in order: 'load' and the stages."""
    names = []

    def watched(name, original):
        def call(*args, **kwargs):
            names.append(name)
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(NoiseSource, "load", watched("load", NoiseSource.load))
    for name, stage in STAGES.items():
        monkeypatch.setitem(STAGES, name, stage._replace(apply=watched(name, stage.apply)))
    return names


def run(source, folder, recipe=RECIPE, workers=1, keep_stages=True) -> list[Any]:
    return list(
        pipeline.run(
            source,
            source.entries(),
            recipe,
            cache_dir=folder,
            workers=workers,
            keep_stages=keep_stages,
        )
    )


def changed(section, **values):
    return {**RECIPE, section: {**RECIPE[section], **values}}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.npz")}


def equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], strict=True)


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
    assert made["positions"].dtype == np.float32
    assert made["positions"][[0, made["apex_index"], -1]].tolist() == [1, 5, 9]
    assert made["notes"] == ""
    assert made["apex_estimated"] == 0


def test_an_apex_that_nobody_marked_is_estimated_and_says_so(tmp_path, plain_flow):
    made = run(NoiseSource(1), tmp_path)[0].record
    assert made["apex_estimated"] == 1
    assert 1 < made["apex"] <= 9
    assert made["positions"][made["apex_index"]] == made["apex"]


def test_without_its_stage_an_unmarked_apex_stays_unknown(tmp_path, plain_flow):
    stages = [stage for stage in RECIPE["stages"] if stage != "apex"]
    made = run(NoiseSource(1), tmp_path, {**RECIPE, "stages": stages})[0].record
    assert (made["apex"], made["apex_index"], made["apex_estimated"]) == (-1, -1, 0)


def test_cached_clips_are_reused_and_equal(tmp_path, plain_flow):
    first = run(NoiseSource(3), tmp_path)
    second = run(NoiseSource(3), tmp_path)
    assert not any(outcome.reused for outcome in first)
    assert all(outcome.reused for outcome in second)
    for before, after in zip(first, second):
        equal(before.record, after.record)


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


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (changed("flow", warps=2), []),
        (changed("keyframes", rule="tim"), ["keyframes"]),
        (changed("magnify", alpha=3.0), ["apex", "magnify", "keyframes"]),
        (changed("apex", rule="middle"), ["apex", "magnify", "keyframes"]),
        ({**RECIPE, "steps": 4}, ["keyframes"]),
        ({**RECIPE, "stages": ["face", "keyframes"]}, ["keyframes"]),
        ({**RECIPE, "size": 20}, ["load", "face", "apex", "magnify", "keyframes"]),
    ],
)
def test_a_change_of_a_stage_runs_it_and_what_follows(tmp_path, plain_flow, called, change, again):
    (before,) = run(NoiseSource(1), tmp_path / "used")
    assert called == ["load", "face", "apex", "magnify", "keyframes"]
    called.clear()
    (after,) = run(NoiseSource(1), tmp_path / "used", change)
    assert called == again
    assert not after.reused
    (anew,) = run(NoiseSource(1), tmp_path / "empty", change)
    equal(after.record, anew.record)
    called.clear()
    (back,) = run(NoiseSource(1), tmp_path / "used")
    assert called == []
    equal(back.record, before.record)


def test_a_new_version_of_a_stage_runs_it_and_what_follows(
    tmp_path, plain_flow, called, monkeypatch
):
    run(NoiseSource(1), tmp_path)
    called.clear()
    raised = STAGES["magnify"]._replace(version=STAGES["magnify"].version + 1)
    monkeypatch.setitem(STAGES, "magnify", raised)
    assert not run(NoiseSource(1), tmp_path)[0].reused
    assert called == ["apex", "magnify", "keyframes"]


def test_cache_of_clips_alone_keeps_no_stage(tmp_path, plain_flow, called):
    run(NoiseSource(1), tmp_path, keep_stages=False)
    assert [path.parent.name for path in contents(tmp_path)] == ["record"]
    assert run(NoiseSource(1), tmp_path, keep_stages=False)[0].reused
    called.clear()
    run(NoiseSource(1), tmp_path, changed("keyframes", rule="tim"), keep_stages=False)
    assert called == ["load", "face", "apex", "magnify", "keyframes"]


def test_history_has_the_clip_as_read_and_after_each_stage(tmp_path, called):
    source = NoiseSource(2)
    entry = source.entries()[1]
    clips = record.history(source, RECIPE, entry, tmp_path)
    assert list(clips) == ["source", "face", "apex", "magnify", "keyframes"]
    assert [np.asarray(clip.frames).shape for clip in clips.values()] == [
        (12, 30, 26),
        (12, SIDE, SIDE),
        (12, SIDE, SIDE),
        (12, SIDE, SIDE),
        (4, SIDE, SIDE),
    ]
    called.clear()
    again = record.history(source, RECIPE, entry, tmp_path)
    assert called == ["load", "apex"]
    for stage, clip in clips.items():
        equal(vars(clip), vars(again[stage]))
    _, frames = record.key_frames(source, RECIPE, entry)
    np.testing.assert_array_equal(frames, clips["keyframes"].frames)


def damage(content: bytes) -> list[bytes]:
    """A file cut off at several places, and with one bit wrong at many."""
    flipped = []
    for place in range(0, len(content), len(content) // 40):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        flipped.append(bytes(changed))
    return [content[:length] for length in (0, 10, len(content) // 2, len(content) - 1)] + flipped


def test_damaged_cache_file_is_seen(tmp_path):
    values = {"frames": np.arange(300.0), "landmarks": None, "notes": ["é"], "apex": np.int64(3)}
    path = tmp_path / "clip.npz"
    cache.write(path, values)
    kept = cache.read(path)
    assert kept
    equal(kept, {**values, "apex": 3})
    seen = 0
    for content in damage(path.read_bytes()):
        path.write_bytes(content)
        found = cache.read(path)
        seen += found is None
        if found is not None:  # the bit says nothing: a time stamp, an attribute of the file
            equal(found, kept)
    assert seen > 30


@pytest.mark.parametrize("name", ["record", "keyframes", "magnify"])
def test_damaged_cache_file_is_made_anew(tmp_path, plain_flow, name):
    (before,) = run(NoiseSource(1), tmp_path)
    good = contents(tmp_path)
    for path in good:
        if path.parent.name in (name, "record"):
            (tmp_path / path).write_bytes(good[path][:1000])
    (after,) = run(NoiseSource(1), tmp_path)
    assert not after.reused
    equal(before.record, after.record)


def test_no_more_clips_are_in_memory_than_the_workers_are_ahead(tmp_path, plain_flow, monkeypatch):
    made: list[weakref.ref] = []
    key_frames = record.key_frames

    def watched(*args):
        partial, frames = key_frames(*args)
        made.append(weakref.ref(partial["frames"]))
        return partial, frames

    # Workers as threads: what is alive can be counted in this process alone.
    monkeypatch.setattr(pipeline, "executor", concurrent.futures.ThreadPoolExecutor)
    monkeypatch.setattr(record, "key_frames", watched)
    source, workers = NoiseSource(30), 2
    outcomes = pipeline.run(source, source.entries(), RECIPE, cache_dir=tmp_path, workers=workers)
    alive = []
    for _ in outcomes:
        time.sleep(0.02)  # a slow parent: the workers could go far ahead of it
        alive.append(sum(frames() is not None for frames in made))
    assert len(made) == len(alive) == 30
    assert 1 <= max(alive) <= pipeline.AHEAD * workers + 1


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
    assert len(contents(alone)) == 5 * 4
    assert contents(alone) == contents(shared)


def test_failing_clips_are_set_aside_and_the_others_go_on(tmp_path, plain_flow):
    source = NoiseSource(4, bad=[1], broken=[2], odd=[0])
    tally = pipeline.Tally()
    quarantine, notes = tmp_path / pipeline.QUARANTINE, tmp_path / pipeline.NOTES
    quarantine.write_text("from an earlier run\n")
    good = list(pipeline.good_records(run(source, tmp_path), tally, tmp_path))
    assert [made["clip_id"] for made in good] == ["clip 0 é", "clip 3 é"]
    assert (tally.written, tally.computed, tally.reused, tally.noted) == (2, 2, 0, 1)
    lines = [json.loads(line) for line in quarantine.read_text().splitlines()]
    assert [line["clip"] for line in lines] == ["noise/s1/1", "noise/s0/2"]
    assert lines[0]["reason"] == "noise/s1/1: frame 7 is absent."
    assert lines[1]["reason"] == "ZeroDivisionError: a fault"
    assert "in load" in lines[1]["details"]
    assert tally.quarantined == {line["clip"]: line["reason"] for line in lines}
    told = [json.loads(line) for line in notes.read_text().splitlines()]
    assert told == [{"clip": "noise/s0/0", "notes": ["Two faces.", "Dark."]}]


def test_clip_that_may_not_be_read_is_set_aside(tmp_path, plain_flow):
    locked, read = run(NoiseSource(2, locked=[0]), tmp_path)
    assert locked.record is None
    assert locked.reason.startswith("/clips/0: cannot be read (Permission denied).")
    assert read.record


def test_two_processes_of_one_number_do_not_share_an_unfinished_file(tmp_path, monkeypatch):
    file, save = tmp_path / "clip.npz", np.savez

    def overtaken(*args, **kwargs):
        """While this one writes, another one writes the same from the beginning to the end."""
        monkeypatch.setattr(np, "savez", save)
        cache.write(file, {"flow": np.zeros(3)})
        save(*args, **kwargs)

    monkeypatch.setattr(np, "savez", overtaken)
    cache.write(file, {"flow": np.zeros(3)})
    kept = cache.read(file)
    assert kept
    np.testing.assert_array_equal(kept["flow"], np.zeros(3))
    assert list(tmp_path.iterdir()) == [file]


def test_full_disk_is_not_taken_for_a_fault_of_the_clip(tmp_path, plain_flow, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        run(NoiseSource(1), tmp_path)


def test_flow_that_is_not_finite_is_set_aside(tmp_path, monkeypatch):
    def with_flow(partial, frames, recipe):
        return {"flow": np.full((3, SIDE, SIDE, 2), np.nan, np.float16), **partial}

    monkeypatch.setattr(record, "with_flow", with_flow)
    (outcome,) = run(NoiseSource(1), tmp_path)
    assert outcome.record is None
    assert "not finite" in outcome.reason
    assert not [path for path in contents(tmp_path) if path.parent.name == "record"]


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
        "from data_prep.pipeline import workers\n"
        "modules = \"__import__('sys').modules\"\n"
        "mask = \"__import__('signal').pthread_sigmask(0, [])\"\n"
        "with workers.executor(2) as pool:\n"
        "    pool.submit(exec, 'import data_prep.pipeline.record').result()\n"
        "    print(*(pool.submit(eval, f'{x!r} in {modules}').result()"
        " for x in ('jax', 'data_prep.pipeline.record')))\n"
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
