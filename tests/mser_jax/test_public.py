"""The public names of mser_jax: their examples run, and importing them is quick."""

import doctest
import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

import mser_jax
from data_prep.synthetic.long_video import LongVideo
from helpers import made_run
from mser_jax import evaluate, export, models

HEAVY = ("jax", "flax", "cv2", "tensorflow", "grain", "matplotlib", "sklearn", "skimage")


class Linear(nnx.Module):
    """The smallest network that has logits: the mean of each channel, and one layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.layer = nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x, mask, key):
        return self.layer(x.mean(axis=(1, 2, 3)))[:, None]


def run_examples(module, names: dict) -> None:
    """Run the examples of a module's docstring as doctest does."""
    test = doctest.DocTestParser().get_doctest(module.__doc__, names, module.__name__, None, 0)
    assert test.examples
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert not told, "".join(told)


def test_the_examples_of_the_package_run(tmp_path, monkeypatch):
    config = made_run.small()
    run = made_run.write(tmp_path / "run", config)
    monkeypatch.chdir(tmp_path)
    export.export(run, tmp_path / "model")
    video = LongVideo(seed=5, subject=1, seconds=1, fps=100, size=160, amplitude=None)
    rng = np.random.default_rng(0)
    names = {
        "frames": list(video),
        "groups": [f"mine/s{clip // 4}" for clip in range(12)],
        "network": models.functional(lambda rngs: Linear(rngs)),
        "flow": rng.normal(size=(12, 2, 20, 20, 2)).astype(np.float32),
        "scale": np.ones(12, np.float32),
        "labels": np.arange(12, dtype=np.int32) % 3,
    }
    run_examples(mser_jax, names)


@pytest.mark.parametrize("module", [models, evaluate])
def test_the_examples_of_its_rooms_run(module):
    run_examples(module, {})


@pytest.mark.parametrize("module", [mser_jax, models, evaluate])
def test_every_public_name_is_there_and_says_what_it_is(module):
    for name in module.__all__:
        value = getattr(module, name)
        assert inspect.getdoc(value), name
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


@pytest.mark.parametrize("module", ["mser_jax", "mser_jax.evaluate", "data_prep"])
def test_importing_a_table_of_contents_imports_no_library(module):
    script = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_help_shows_the_public_names_first():
    script = "import mser_jax; help(mser_jax)"
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert "mser_jax.load(" in text
    listed = text.partition("DATA")[0]
    for internal in ("ConfigDict", "importlib", "attach"):
        assert internal not in listed
    assert importlib.import_module("mser_jax").__all__
