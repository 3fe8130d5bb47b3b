import json
import pickle
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from data_prep.common import folders
from data_prep.common.errors import UserError
from data_prep.stages.table import STAGES
from helpers import made_run
from mser_jax import export, load
from mser_jax.config import networks
from mser_jax.predict import model_folder, serving
from mser_jax.storage import weights

PIXELS = np.random.default_rng(1).normal(size=(2, 4, 40, 40, 2)).astype(np.float32)
WITHOUT_US = """
import sys
for name in ("mser_jax", "data_prep", "flax", "optax", "ml_collections", "safetensors"):
    sys.modules[name] = None  # an import of it fails
from pathlib import Path
import jax
import numpy as np
program = jax.export.deserialize(bytearray(Path(sys.argv[1]).read_bytes()))
said = program.call(np.load(sys.argv[2]))
np.savez(sys.argv[3], *said)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_run.write(tmp_path_factory.mktemp("runs") / "run", made_run.small())


@pytest.fixture(scope="module")
def exported(run):
    out = run.parent / "model"
    export.export(run, out)
    return out


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "model")


def described(folder):
    return json.loads((folder / model_folder.MODEL).read_text())


def test_a_model_is_these_files_and_no_others(exported):
    assert sorted(file.name for file in exported.iterdir()) == sorted(
        [*model_folder.FILES, folders.SUMS]
    )
    for file in exported.iterdir():
        with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, EOFError)):
            pickle.loads(file.read_bytes())


def test_the_program_says_what_the_network_says_without_our_source(run, exported, tmp_path):
    config = made_run.small()
    network = networks.network(config, 3)
    params, stats = weights.load(run / "final" / "weights.safetensors", network)
    temperature = described(exported)["rule"]["temperature"]
    assert temperature != 1
    rule = serving.HeadSelector("confidence", temperature=temperature)
    of = serving.make_predict_fn(network, networks.view(config), rule, "clip")
    wanted = jax.jit(of)(params, stats, PIXELS)
    np.save(tmp_path / "pixels.npy", PIXELS)
    files = (exported / model_folder.PROGRAM, tmp_path / "pixels.npy", tmp_path / "said.npz")
    code = [sys.executable, "-I", "-c", WITHOUT_US, *map(str, files)]
    done = subprocess.run(code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "said.npz") as said:
        for name, expected in zip(said.files, wanted):
            np.testing.assert_allclose(said[name], expected, rtol=1e-4, atol=1e-6)


def test_a_loaded_model_says_the_same(exported, tmp_path):
    model = load(exported)
    said = model.predict_pixels(PIXELS)
    program = jax.export.deserialize(bytearray((exported / model_folder.PROGRAM).read_bytes()))
    for ours, theirs in zip(said, program.call(PIXELS)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert model.class_names == made_run.CLASSES
    assert model.calibrated


def test_the_figures_are_the_runs_and_name_no_subject(exported, run):
    told = described(exported)
    assert told["figures"]["clips"] == 12
    assert 0 <= told["figures"]["uf1"] <= 1
    assert told["calibration"]["temperature"] > 1  # the made answers are too sure
    assert told["rule"]["best"] == 1  # of train_loss
    text = (exported / model_folder.MODEL).read_text()
    assert '"s0"' not in text
    card = (exported / model_folder.CARD).read_text()
    assert f"{told['figures']['uf1']:.3f}" in card
    assert "Not for decisions about people" in card
    assert "synthetic clips" in card
    assert told["fingerprint"]["recipe"] in card


def test_without_folds_the_model_has_no_figures_and_says_so(tmp_path, capsys):
    run = made_run.write(tmp_path / "run", made_run.small(), held_out=False)
    assert export.main([str(run), str(tmp_path / "model")]) == 0
    told = described(tmp_path / "model")
    assert told["figures"] is None
    assert told["rule"]["temperature"] == 1
    assert "no held-out predictions" in capsys.readouterr().out
    card = (tmp_path / "model" / model_folder.CARD).read_text()
    assert "**Not measured**" in card
    assert "Not calibrated" in card
    assert not load(tmp_path / "model").calibrated


@pytest.mark.parametrize("name", model_folder.FILES)
@pytest.mark.parametrize("fault", ["changed", "absent"])
def test_a_changed_file_is_refused_by_name(folder, name, fault):
    file = folder / name
    if fault == "absent":
        file.unlink()
    elif name == model_folder.MODEL:
        file.write_text(json.dumps(described(folder) | {"name": "other"}))
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}.*(?s:.)*Fix"):
        load(folder)


@pytest.mark.parametrize("found", [0, 2, "1", None])
def test_another_format_is_refused_with_both_numbers(folder, found):
    told = described(folder) | {"format": found, "version": "9.9"}
    (folder / model_folder.MODEL).write_text(json.dumps(told))
    with pytest.raises(UserError, match=rf"is {found!r}, but this version reads 1.*9\.9"):
        load(folder)


def test_a_model_of_clips_that_were_prepared_otherwise_is_refused(exported, monkeypatch):
    monkeypatch.setitem(STAGES, "magnify", STAGES["magnify"]._replace(version=99))
    with pytest.raises(UserError, match=r"stages\.magnify: \d+, now 99"):
        load(exported)


def test_weights_of_clips_that_were_prepared_otherwise_are_not_exported(
    run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(STAGES, "magnify", STAGES["magnify"]._replace(version=99))
    assert export.main([str(run), str(tmp_path / "model")]) == 2
    assert "prepares clips differently" in " ".join(capsys.readouterr().err.split())


def test_no_path_of_the_machine_that_trained_is_in_it(tmp_path):
    config = made_run.small()
    config.data.manual_dir = config.data.data_dir = "/home/somebody/data"
    config.prep.face.model = "/home/somebody/own.dat"
    run = made_run.write(tmp_path / "run", config)
    facts = json.loads((run / "final" / "final.json").read_text())
    facts["command"] = (
        "python -m mser_jax.main --config /home/somebody/c.py:smoke --workdir /home/somebody/run "
        "-config.data.manual_dir=/home/somebody/data --config.data.data_dir /home/somebody "
        "--config.seed=3 --mode=final"
    )
    (run / "final" / "final.json").write_text(json.dumps(facts))
    export.export(run, tmp_path / "model")
    for name in (model_folder.MODEL, model_folder.CARD):
        assert "somebody" not in (tmp_path / "model" / name).read_text()
    command = described(tmp_path / "model")["training"]["command"]
    assert command == "python -m mser_jax.main --config=c.py:smoke --config.seed=3 --mode=final"
    assert "a 68-point model of its own" in (tmp_path / "model" / model_folder.CARD).read_text()
    assert load(tmp_path / "model").recipe["face"]["model"] == ""


def resigned(folder):
    """The digests anew: whoever changed a file on purpose knows of them."""
    sums = folder / folders.SUMS
    names = [line.split()[1] for line in sums.read_text().splitlines()]
    sums.write_text("".join(f"{folders._sha256(folder / name)}  {name}\n" for name in names))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rule", {"name": "mean"}),
        ("rule", {"name": "mean", "best": 0, "temperature": 1, "more": 0}),
        ("config", {}),
        ("class_names", "abc"),
        ("fingerprint", "f"),
        ("calibration", ...),
        ("config.model.block", "unknown"),
        ("config.model", {}),
    ],
)
def test_a_description_that_is_not_whole_is_refused(folder, name, value):
    told = described(folder)
    *outer, last = name.split(".")
    inner = told
    for part in outer:
        inner = inner[part]
    inner[last] = value
    if value is ...:
        del inner[last]
    (folder / model_folder.MODEL).write_text(json.dumps(told))
    resigned(folder)
    with pytest.raises(UserError, match=r"(?s)model.*Fix"):
        load(folder)


def test_a_pickle_in_place_of_the_weights_is_never_run(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (folder / model_folder.WEIGHTS).write_bytes(pickle.dumps(Evil()))
    resigned(folder)
    with pytest.raises(UserError, match="no weights can be read"):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_an_export_replaces_a_model_and_nothing_else(run, folder, capsys):
    assert export.main([str(run), str(folder)]) == 0
    (folder / "mine.txt").touch()
    assert export.main([str(run), str(folder)]) == 2
    assert "mine.txt" in capsys.readouterr().err
    assert (folder / "mine.txt").exists()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("no run", "no such run"),
        ("no final", "--mode=final"),
        ("other clips", "different clips"),
        ("other classes", "its classes are"),
        ("oracle", "reads the label"),
    ],
)
def test_a_run_that_gives_no_model_says_why(run, tmp_path, capsys, fault, told):
    copy = shutil.copytree(run, tmp_path / "run")
    facts = json.loads((copy / "final" / "final.json").read_text())
    if fault == "no run":
        shutil.rmtree(copy)
    elif fault == "no final":
        shutil.rmtree(copy / "final")
    elif fault == "other clips":
        facts["digest"] = "another"
    elif fault == "other classes":
        facts["class_names"] = ["a", "b", "c"]
    else:
        config = json.loads((copy / "config.json").read_text())
        config["evaluation"]["select"] = "oracle"
        (copy / "config.json").write_text(json.dumps(config))
    if (copy / "final").is_dir():
        (copy / "final" / "final.json").write_text(json.dumps(facts))
    assert export.main([str(copy), str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert re.search(told, error), error
    assert "Fix" in error
    assert not (tmp_path / "model").exists()
