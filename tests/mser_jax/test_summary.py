"""The command that prints the network: its text, its sums and its refusals."""

import dataclasses
import os
import re
import subprocess
import sys

import pytest
from flax import nnx

from data_prep.common.errors import UserError
from data_prep.datasets import registry
from helpers import ROOT
from mser_jax.config.defaults import get_config
from mser_jax.models import MSRes3D, MSRes3DSettings
from mser_jax.models.network import count_parameters
from mser_jax.summary import layer_table, summary

PAPER = MSRes3DSettings(classes=4)
SMALL = MSRes3DSettings(classes=3, block="basic", width=2, depths=(1, 1, 1, 1), hidden=5)


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mser_jax.summary", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, " ".join(done.stderr.split())


def test_full_size_in_plain_text_of_eighty_columns():
    text = summary(PAPER, (16, 134, 134, 3), 8, 28)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "total 82,056,394 100.0% 28.283 56.566 100.0%" in lines
    assert "RC1 8 x 34 x 34 x 256 1,095,556 1.3% 10.114 20.228 35.8%" in lines
    assert "block 1 16 x 67 x 67 x 64 28,352 0.0% 2.027 4.054 7.2%" in lines
    floats = 3 * 82_056_394 + 2 * statistics()
    assert f"State of a fold: {4 * floats / 1e6:.2f} MB" in text
    assert f"28 folds: {28 * 4 * floats / 1e9:.2f} GB" in text


def statistics():
    """Channels of all normalisations of the full network: each has a mean and a variance."""
    backbone = 64 + sum(
        depth * 6 * width + 4 * width for width, depth in ((64, 3), (128, 4), (256, 6), (512, 3))
    )
    rc1, rc2, rc3 = 3 * 256 + 3 * 64, 3 * 512 + 7 * 128, 7 * 1024 + 5 * 256
    fusion = sum(c + 4 * (c // 4 + c) for c in (1024, 512, 256))
    return backbone + rc1 + rc2 + rc3 + fusion


def test_folds_are_told_only_when_asked_for():
    text = summary(dataclasses.replace(PAPER, width=2), (4, 20, 20, 3), 8, 0)
    assert "All" not in text


def test_the_table_of_layers_has_every_module_with_weights():
    """Of a small network, with its stages computed anew: each with its path, shapes and weights."""
    small = dataclasses.replace(SMALL, remat=True)
    text = layer_table(lambda rngs: MSRes3D(small, rngs=rngs), (4, 20, 20, 3))
    assert max(map(len, text.splitlines())) <= 160
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    paths = [row[0] for row in cells if row and "/" in row[0]]
    model = nnx.eval_shape(lambda: MSRes3D(small, rngs=nnx.Rngs(0)))
    wanted = {
        "/".join(map(str, path))
        for path, module in nnx.iter_modules(model)
        if any(isinstance(value, nnx.Param) for value in vars(module).values())
    }
    assert len(paths) == len(set(paths))
    assert set(paths) == wanted
    assert paths[:2] == ["stem/conv/conv", "stem/conv/norm"]
    assert paths[-1] == "heads/3/second"
    assert any("float32[3,7,7,3,2]" in cell for row in cells for cell in row)
    convolution = ["stem/conv/conv", "Conv", "float32[1,4,20,20,3]", "float32[1,4,10,10,2]"]
    assert convolution in [row[:4] for row in cells]
    counts = [row[4].split(" (")[0] for row in cells if len(row) > 4 and row[4].endswith("B)")]
    assert counts[0] == f"{3 * 7 * 7 * 3 * 2}"
    assert counts[-1] == f"{count_parameters(nnx.state(model, nnx.Param)):,}"  # of all


def test_the_command_counts_the_configured_network():
    status, out, _ = command("--config=configs/smic.py:smoke", "--config.input.kind=frames")
    assert status == 0
    assert out.startswith("smic, preset smoke: a clip is 8 x 56 x 56 x 1; 3 classes\n")
    assert "MMAC" in out
    assert "head on O4" in out


def test_the_command_counts_a_network_of_the_field():
    status, out, _ = command("--config=configs/megc2019.py:ststnet", "--folds=68", "--layers")
    assert status == 0
    assert re.search(r"^│ fc +│ Dense +│ float32\[1,400\] +│ float32\[1,3\] ", out, re.MULTILINE)
    assert re.search(r"^fc +1,203 ", out, re.MULTILINE)
    assert re.search(r"^total +1,683 ", out, re.MULTILINE)
    assert re.search(r"Multiply-adds of a clip, forward: 0\.[3-5]\d\d M\.", out)
    assert "All 68 folds" in " ".join(out.split())
    status, _, error = command("--config=configs/megc2019.py:svm_rbf")
    assert status == 2
    assert "svm_rbf has no network" in error


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--config.model.dtype=bfloat61", "Did you mean 'bfloat16'?"),
        ("--folds=-1", "--folds is -1; it must be at least 1."),
    ],
)
def test_a_slip_gets_one_message(flag, told):
    status, out, error = command("--config=configs/samm.py", flag)
    assert (status, out) == (2, "")
    assert told in error


def test_the_classes_of_every_source_are_known_without_its_clips():
    counts = {
        name: len(registry.class_names(get_config(name, "all" if name == "megc2019" else "paper")))
        for name in registry.SOURCES
        if name != "folder"  # whose labels are in the user's sheet
    }
    wanted = {"synthetic": 4, "smic": 3, "samm": 4, "casme2": 4, "casme3": 4, "mmew": 4}
    assert counts == wanted | {"composite": 3, "megc2019": 3}
    with pytest.raises(UserError, match="Did you mean 'samm'"):
        registry.class_names(get_config("sam", "paper"))
