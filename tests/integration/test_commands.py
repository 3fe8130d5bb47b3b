"""What a user reads after a mistake: one message with the remedy, status 2, never a traceback."""

import os
import subprocess
import sys

import pytest

from helpers import ROOT

SYNTHETIC = "--config=configs/synthetic.py"
COMPARE = "python -m mser_jax.compare RUN_A RUN_B"
ABLATION = "--config=configs/ablation.py"
NO_LIBRARY = "libGL.so.1: cannot open shared object file: No such file or directory"


def command(module, *arguments, **environment):
    """Exit status and stderr, as one line."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join(done.stderr.split())


@pytest.mark.parametrize("module", ["mser_jax.main", "data_prep"])
def test_without_the_database_the_message_says_all_that_is_needed(module, tmp_path):
    arguments = ["--config=configs/samm.py", f"--config.data.manual_dir={tmp_path / 'absent'}"]
    if module == "mser_jax.main":
        arguments.append(f"--workdir={tmp_path / 'run'}")
    status, told = command(module, *arguments)
    assert status == 2
    for part in (
        "SAMM: spontaneous micro-facial movements",
        f"there is no folder {tmp_path / 'absent'}",
        "Manchester Metropolitan",
        "signed agreement",
        "SAMM_Micro_FACS_Codes_v2.xlsx",
        "006_1_2/",
        "--config.data.manual_dir=",
    ):
        assert part in told


@pytest.mark.parametrize("name", ["smic", "casme2"])
def test_the_other_databases_are_asked_for_by_their_names(name):
    status, told = command("data_prep", f"--config=configs/{name}.py")
    assert status == 2
    assert f"--config.data.manual_dir=/path/to/{name.upper()}" in told


def test_a_reader_that_goes_away_is_told_and_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "data_prep", SYNTHETIC, "--check"],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "Stopped: the output pipe is closed.",
    )


def test_a_section_that_a_configuration_lacks_is_named():
    status, told = command("data_prep", SYNTHETIC, "--config.data.parts.samm=x")
    assert (status, "There is no field" in told, "parts" in told) == (2, True, True)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ([], "--config=configs/synthetic.py"),
        (["--config=configs/nope.py"], "configs/nope.py"),
        ([SYNTHETIC + ":smok"], "Did you mean 'smoke'?"),
        ([SYNTHETIC, "--wrkdir=x"], "Did you mean: workdir"),
        ([SYNTHETIC, "--mode=trian"], "<all|train|evaluate|report|final>"),
        ([SYNTHETIC, "--config.train.epoch=3"], 'Did you mean "epochs"'),
        ([SYNTHETIC, "--config.train.epochs=ten"], "--config.train.epochs=ten"),
        ([SYNTHETIC, "--config.model.block=basicc"], "Did you mean 'basic'?"),
        ([SYNTHETIC, "--config.train.batch_size=0"], "config.train.batch_size is 0"),
        ([SYNTHETIC, "--config.preset=smoke"], "--config=configs/synthetic.py:smoke"),
        ([ABLATION, "--config.preset=smoke"], "--config=configs/ablation.py:synthetic-smoke"),
        ([ABLATION + ":synthetic-smoke-no_flw"], "Did you mean 'no_flow'?"),
        ([ABLATION, "--config.ablation.members=('base', '+flw')"], "Did you mean '+flow'?"),
        ([SYNTHETIC, "configs/samm.py"], "write flags as --name=value"),
        ([SYNTHETIC, "--runs=a"], COMPARE),
        (["--mode=compare", "--runs", "a", "b"], COMPARE),
        (["--mode", "compare", "--runs=a", "--runs=b"], COMPARE),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(arguments, remedy):
    status, told = command("mser_jax.main", *arguments)
    assert status == 2
    assert remedy in told


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["a"], "the following arguments are required: RUN"),
        (["no/a", "no/b"], "no/a/config.json: No such file"),
    ],
)
def test_a_comparison_of_what_is_not_there_is_answered(arguments, remedy):
    status, told = command("mser_jax.compare", *arguments)
    assert status == 2
    assert remedy in told


def test_the_old_spelling_of_the_drawn_releases_answers_with_the_new_one():
    status, told = command("data_prep.synthetic_release", "--layout=casme2", "--out=drawn")
    assert (status, told.strip()) == (
        2,
        "The command is now: python -m data_prep.synthetic.release",
    )


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    status, told = command("mser_jax.main", SYNTHETIC, f"--workdir={file / 'run'}")
    assert status == 2
    assert f"{file / 'run'}: cannot be written" in told
    assert "--workdir" in told


@pytest.mark.parametrize("module", ["mser_jax.main", "mser_jax.summary", "data_prep"])
def test_a_missing_system_library_is_answered_with_the_exact_remedy(module, tmp_path):
    package = tmp_path / "cv2"
    package.mkdir()
    (package / "__init__.py").write_text(f"raise ImportError({NO_LIBRARY!r})\n")
    status, told = command(module, SYNTHETIC, PYTHONPATH=str(tmp_path))
    assert status == 2
    assert NO_LIBRARY in told
    assert "apt-get install -y libgl1 libglib2.0-0" in told
    assert "pip uninstall -y opencv-python" in told


@pytest.mark.parametrize("config", [ABLATION, "--config=configs/megc2019.py"])
def test_several_networks_have_no_final_one(config, tmp_path):
    arguments = (config, "--mode=final", f"--workdir={tmp_path}")
    status, told = command("mser_jax.main", *arguments)
    assert status == 2
    assert "--mode=final trains one network" in told
    assert "Fix" in told
