"""Every command of the documents and docstrings can be typed; every network trains at its size."""

import argparse
import ast
import copy
import importlib
import re
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from data_prep import __main__ as prepare
from data_prep import config as data_config
from data_prep.common import command
from data_prep.datasets.registry import SOURCES, class_names
from helpers import ROOT
from mser_jax.config import defaults, networks, validation, zoo
from mser_jax.data.augment import Clips
from mser_jax.data.dataset import Dataset
from mser_jax.evaluate.compare import ablation
from mser_jax.experiments import setup

DATA = Path(data_config.__file__)
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"]
SCRIPTS = [*ROOT.glob("configs/*.py"), *ROOT.glob("benchmarks/*.py")]
TRAINED = [name for name, model in zoo.MODELS.items() if not model.classical]
WHOLE = defaults.get_config("samm", "paper")
NETWORKS = {
    **{name: defaults.get_config(name, "paper") for name in SOURCES if name != "megc2019"},
    **{preset: defaults.get_config("synthetic", preset) for preset in ("fast", "smoke")},
    **{name: defaults.ablation_member_config(WHOLE, name) for name in ablation.MEMBERS},
    **{name: defaults.get_config("megc2019", name) for name in TRAINED},
}
# Whose step is not that of another one, but for the number of classes. The rest are slow.
STEPS = ("samm", "smoke", *(name for name in TRAINED if name != "msres2d"))


def code(text):
    """The lines of indented and fenced blocks, then what stands between backticks.

    A command that is said to be another one now is of an old figure.
    """
    blocks = re.sub(r"\\\n\s*", " ", text).split("```")
    for fenced in blocks[1::2]:
        yield from fenced.splitlines()
    for plain in blocks[::2]:
        yield from re.findall(r"^ {4}(.*)$", plain, re.MULTILINE)
        yield from (said for said, now in re.findall(r"`([^`]+)`( \(now )?", plain) if not now)


def words(line):
    """A command's module and arguments, up to a comment, or to what may be left out."""
    said = re.split(r"\s#|\s\[|\s\(|\s{3,}", line.partition("python -m ")[2])[0]
    return tuple(shlex.split(said))


def documented():
    """Every command that is written in full, in order; a bare name is one of a benchmark."""
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    for path in SCRIPTS:
        texts.append(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    lines = {words(line) for text in texts for line in code(text) if "python -m " in line}
    full = (line for line in lines if not {"...", "--config=..."} & {*line})
    return sorted(line for line in full if line[1:] or line[0].startswith("benchmarks."))


def test_commands_are_found_wherever_they_stand():
    commands = documented()
    for line in (
        "benchmarks.train_step --batch 4",
        "benchmarks.fold_parallel full --dtype bfloat16 --batch 8",
        "mser_jax.compare runs/A runs/B",
        "mser_jax.main --config=configs/casme2.py:smoke --config.data.manual_dir=drawn "
        "--config.data.landmarks_dir=drawn/landmarks",
    ):
        assert tuple(line.split()) in commands


@pytest.mark.parametrize("line", documented(), ids=" ".join)
def test_a_documented_command_is_understood(line, monkeypatch, capsys):
    name, *arguments = line
    monkeypatch.chdir(ROOT)
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):  # a package is run by its __main__
        module = importlib.import_module(f"{name}.__main__")
    if hasattr(module, "argparse"):
        by_argparse(module, arguments, monkeypatch)
    else:
        by_absl(module, arguments, monkeypatch, capsys)


def by_argparse(module, arguments, monkeypatch):
    """Let the command read its flags, and stop it there."""
    parse = argparse.ArgumentParser.parse_args

    def parsed(*given):
        parse(*given)
        raise SystemExit("understood")

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(sys, "argv", [module.__file__, *arguments])
    with pytest.raises(SystemExit, match="understood"):
        module.main()


def by_absl(module, arguments, monkeypatch, capsys):
    """Read the flags of the command, and its configuration, into flags of their own."""
    own = flags.FlagValues()
    for flag in flags.FLAGS.get_key_flags_for_module(module):
        own[flag.name] = copy.deepcopy(flag)
    config = config_flags.DEFINE_config_file("config", flag_values=own)
    monkeypatch.setattr(flags, "FLAGS", own)
    monkeypatch.setattr(command, "CONFIG", config)
    monkeypatch.setattr(sys, "argv", [module.__file__, *arguments])
    check = data_config.validate if module is prepare else validation.validate
    with pytest.raises(SystemExit) as ended:
        sys.exit(command.run(check, {"video": DATA}))
    assert not ended.value.code, capsys.readouterr().err


def made(config):
    """Clips of two people, two batches of each, that take no memory."""
    steps, size, _, channels = networks.clip_shape(config)
    if config.input.kind != "images":
        size, channels = size + 2 * data_config.margin(size), min(channels, 2)
    else:
        channels = 3
    names = class_names(config) if config.data.dataset != "folder" else ("one", "other")
    count = 4 * config.train.batch_size
    return Dataset(
        clips=Clips(
            np.broadcast_to(np.float16(0), (count, steps, size, size, channels)),
            np.ones(count, np.float32),
            np.arange(count, dtype=np.int32) % len(names),
        ),
        dataset=np.full(count, "made"),
        subject=np.arange(count) * 2 // count,
        clip=np.arange(count),
        class_names=names,
        digest="made",
        dropped={},
        release={},
        repaired={},
    )


@pytest.mark.parametrize("name", sorted({*NETWORKS} - {*STEPS, *SOURCES, "+fusion", "no_fusion"}))
def test_a_network_has_the_heads_that_the_training_counts_at_full_size(name):
    config = NETWORKS[name]
    validation.validate(config)
    network = networks.network(config, 3)
    x = jax.ShapeDtypeStruct((2, *networks.clip_shape(config)), "float32")

    def logits(key, x):
        return network.apply(*network.init(key), x, None, False)[0]

    said = jax.eval_shape(logits, jax.random.key(0), x)
    assert said.shape == (2, networks.heads(config), 3)


@pytest.mark.parametrize(
    "name",
    [name if name in STEPS else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS],
)
def test_a_step_of_training_fits_together_at_full_size(name):
    dataset = made(NETWORKS[name])
    of = setup.make_trainer(NETWORKS[name], dataset)
    start = jax.eval_shape(of.init_state), jax.eval_shape(of.zero_metrics)
    later = (of.schedule(0), of.class_weights(), of.step_range(0, 0, of.steps), dataset.clips)
    assert jax.eval_shape(of.train_steps(), *start, *later) == start
