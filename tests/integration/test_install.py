"""The wheel: built from a clean copy, and imported outside the repository."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers import ROOT

SETUPTOOLS = 77  # the oldest that builds the wheel (pyproject.toml)

IMPORTS = """
import importlib.metadata, json, sys
sys.path.insert(0, sys.argv[1])
import data_prep, data_prep.common.command, data_prep.datasets.samm.reader, mser_jax
from mser_jax.config import defaults
modules = (data_prep, data_prep.datasets.samm.reader, mser_jax, defaults)
found = importlib.metadata.distributions(name="mser_jax", path=[sys.argv[1]])
print(json.dumps({
    "files": [module.__file__ for module in modules],
    "versions": [mser_jax.__version__, *(each.version for each in found)],
    "presets": [defaults.get_config("samm", name).preset for name in ("paper", "smoke")],
}))
"""


def execute(*command, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_isolation() -> list[str]:
    """Builds with what is installed, or lets `build` fetch a setuptools that is new enough."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        return []
    return ["--no-isolation"] if int(version.split(".")[0]) >= SETUPTOOLS else []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    # A copy, tests and configs included, so that a wheel that takes them too would be noticed, and
    # so that the build leaves nothing behind here.
    copy = tmp_path_factory.mktemp("copy")
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("mser_jax", "data_prep", "tests", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=skipped)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    out = tmp_path_factory.mktemp("wheel")
    execute("-m", "build", "--wheel", *without_isolation(), "--outdir", out, ".", cwd=copy)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_both_packages_and_their_documents_and_nothing_else(wheel):
    files = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in files if ".dist-info/" not in name}
    assert tops == {"mser_jax", "data_prep"}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in ("mser_jax", "data_prep")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".md", ".bib", ".txt", ".toml", ".typed")
    }
    assert "data_prep/datasets/samm/TAGS.txt" in wanted
    assert "data_prep/datasets/samm/database.toml" in wanted
    assert wanted <= set(files)
    assert any(name.endswith("licenses/LICENSE") for name in files)


def test_the_wheel_is_imported_outside_the_repository(wheel, tmp_path):
    target = tmp_path / "target"
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check")
    execute(*pip, "--target", target, wheel, cwd=tmp_path)
    found = json.loads(execute("-I", "-c", IMPORTS, target, cwd=tmp_path))
    assert all(Path(file).is_relative_to(target) for file in found["files"])
    assert len(found["versions"]) == 2
    assert len(set(found["versions"])) == 1
    assert found["presets"] == ["paper", "smoke"]


def test_ci_runs_the_command_that_the_readme_gives():
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().splitlines()
    assert "pytest" in steps[-1]
    assert f"\n```\n{steps[-1]}\n```\n" in (ROOT / "README.md").read_text(encoding="utf-8")
