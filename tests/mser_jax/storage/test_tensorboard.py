"""The event files, read back as TensorBoard reads them."""

import importlib.util
import resource
import sys
import types

import pytest

from mser_jax.storage import tensorboard

INSTALLED = importlib.util.find_spec("tensorboardX") is not None
needs_it = pytest.mark.skipif(not INSTALLED, reason="needs pip install '.[tensorboard]'")


def epoch(number, loss, **fields):
    return {"event": "epoch", "epoch": number, "loss": loss, "fold_loss": [loss, None]} | fields


def write(folder, *epochs):
    """One run of the program."""
    writer = tensorboard.writer(folder)
    for each in epochs:
        writer.write(each)
    writer.close()


def scalars(folder):
    """{tag: [(step, value)]}, as TensorBoard itself accumulates them."""
    module = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    read = module.EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


@needs_it
def test_every_scalar_has_its_epoch_and_what_is_not_known_is_left_out(tmp_path):
    known = {"accuracy": 0.5, "gradient_norm": 2.0, "learning_rate": 0.25, "clips_per_second": 64.0}
    first = epoch(1, 3.0, **known, fraction_of_peak=None, head_choice=[0.25, 0.75])
    write(tmp_path, first, first | {"epoch": 2, "loss": 1.5, "fraction_of_peak": 0.125})
    read = scalars(tmp_path)
    assert read.pop("loss") == [(1, 3.0), (2, 1.5)]
    assert read.pop("fraction_of_peak") == [(2, 0.125)]
    choice = {"head_choice/1": 0.25, "head_choice/2": 0.75}
    assert read == {tag: [(1, value), (2, value)] for tag, value in (known | choice).items()}


@needs_it
def test_an_epoch_is_on_disk_before_the_end(tmp_path):
    writer = tensorboard.writer(tmp_path)
    writer.write(epoch(1, 3.0))
    assert scalars(tmp_path) == {"loss": [(1, 3.0)]}
    writer.close()


@needs_it
@pytest.mark.parametrize("first", [1, 2, 4])
def test_a_run_that_goes_on_shows_each_epoch_once_with_what_led_to_the_result(tmp_path, first):
    write(tmp_path, *(epoch(number, 10.0 + number) for number in (1, 2, 3)))
    write(tmp_path, *(epoch(number, 20.0 + number) for number in range(first, 6)))
    expected = [(number, (20.0 if number >= first else 10.0) + number) for number in range(1, 6)]
    assert scalars(tmp_path) == {"loss": expected}


@needs_it
def test_each_round_is_a_run_of_its_own(tmp_path):
    write(tmp_path, *(epoch(1, float(number), round=number) for number in (1, 2)))
    write(tmp_path, epoch(2, 4.0, round=2))
    assert scalars(tmp_path / "round-1") == {"loss": [(1, 1.0)]}
    assert scalars(tmp_path / "round-2") == {"loss": [(1, 2.0), (2, 4.0)]}


@needs_it
@pytest.mark.parametrize("full", ["from the start", "later"])
def test_a_disk_that_fails_is_told_once_and_stops_no_training(tmp_path, capsys, full):
    folder, limits = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = tensorboard.writer(folder)
    if full == "later":
        writer.write(epoch(1, 3.0))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        for number in (2, 3):
            writer.write(epoch(number, 3.0))
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.count(f"{folder}: cannot be written (File too large).") == 1
    write(folder, epoch(4, 2.0))  # a run that goes on when there is space
    assert scalars(folder)["loss"][-1] == (4, 2.0)


def test_without_the_package_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    write(tmp_path / "out", epoch(1, 3.0))
    assert not (tmp_path / "out").exists()


def test_a_package_that_cannot_be_loaded_is_told_and_stops_no_training(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "tensorboardX", types.ModuleType("tensorboardX"))
    for name in [name for name in sys.modules if name.startswith("tensorboardX.")]:
        monkeypatch.delitem(sys.modules, name)
    write(tmp_path / "out", epoch(1, 3.0))
    assert "no curves for TensorBoard" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
