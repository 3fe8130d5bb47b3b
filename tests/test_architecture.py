"""Who may import whom: the rules of docs/design.md, over packages."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from helpers import ROOT

STANDARD = frozenset(sys.stdlib_module_names)
PLAIN = "data_prep.common"  # errors, checks, files, progress: libraries of none of the two


class Rule(NamedTuple):
    """What the modules of `who` may import: `only` these, or anything but `never`."""

    number: int
    who: str
    only: str = ""
    never: str = ""
    but: str = ""  # modules of `who` that the rule does not bind


OF_DATA = f"jax jaxtyping numpy grain mser_jax.data mser_jax.parallel {PLAIN} data_prep.shards"
READ_SHARDS = "mser_jax.data.dataset mser_jax.data.stream"
ABOVE_TRAIN = "mser_jax.evaluate mser_jax.report mser_jax.config mser_jax.experiments"
COMMANDS = "mser_jax.main mser_jax.export mser_jax.compare mser_jax.summary"
READ_FIELDS = f"mser_jax.config mser_jax.experiments mser_jax.predict {COMMANDS}"
FLOW = "data_prep.stages.flow data_prep.stages.flow_images"
RULES = (
    Rule(1, "data_prep", never="mser_jax flax optax orbax grain"),
    Rule(1, "data_prep", never="jax", but=FLOW),
    Rule(2, "mser_jax.models", only="jax flax jaxtyping numpy mser_jax.models"),
    Rule(3, "mser_jax.data", only=OF_DATA),
    Rule(3, "mser_jax.data", never="grain data_prep.shards", but=READ_SHARDS),
    Rule(4, "mser_jax.storage", never=f"mser_jax.train mser_jax.data {ABOVE_TRAIN}"),
    Rule(5, "mser_jax.evaluate", only=f"numpy scipy mser_jax.evaluate {PLAIN}"),
    Rule(6, "mser_jax.train", never=f"{ABOVE_TRAIN} mser_jax.predict"),
    Rule(7, "mser_jax", never="ml_collections absl", but=READ_FIELDS),
    Rule(8, "mser_jax.report", never="jax flax optax mser_jax.train mser_jax.models mser_jax.data"),
    Rule(9, "mser_jax.experiments", never="mser_jax.predict"),
    Rule(9, "mser_jax.predict", never="mser_jax.experiments"),
)

# Rule 11: what trains runs where no more than JAX's own libraries is installed.
LEAN = (
    *("mser_jax.models", "mser_jax.parallel", "mser_jax.train", "mser_jax.storage.checkpoints"),
    *("mser_jax.data", "data_prep.stages.flow"),
)
LIBRARIES = (
    *("jax", "flax", "optax", "orbax", "numpy", "scipy", "safetensors", "jaxtyping"),
    "humanize",  # which orbax needs
)
BLOCKED = (
    *("tensorflow", "tensorflow_datasets", "grain", "ml_collections", "array_record", "cv2"),
    *("matplotlib", "skimage", "sklearn", "openpyxl", "tqdm", "flatbuffers", "tensorboard", "dlib"),
    *("filelock", "tensorboardX"),
)
IMPORT_ALL = """
import importlib, json, sys
blocked, names = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(blocked))  # an import of them fails
for name in names:
    importlib.import_module(name)
print(json.dumps([name for name in sys.modules if name.split(".")[0] in ("mser_jax", "data_prep")]))
"""


def below(name: str, packages: str) -> bool:
    """Whether a module is one of these packages, or lies below one."""
    return any(name == one or name.startswith(f"{one}.") for one in packages.split())


def modules(package: str) -> list[str]:
    folder = ROOT.joinpath(*package.split("."))
    files = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return sorted(name.removesuffix(".__init__") for name in names)


def path_of(module: str):
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def names_imported(source: str) -> Iterator[str]:
    """Every import, those within functions too; of our own packages down to the module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if path_of(inner) else node.module


def imports(module: str) -> set[str]:
    """What a module imports beside the standard library."""
    path = path_of(module)
    assert path, f"there is no module {module}: correct the rule"
    names = names_imported(path.read_text(encoding="utf-8"))
    return {name for name in names if name.split(".")[0] not in STANDARD}


def test_every_kind_of_import_is_seen():
    lines = (
        "import jax.numpy as jnp",
        "from mser_jax import main",
        "def f(): import data_prep.clip",
    )
    assert set(names_imported("\n".join(lines))) == {
        *("jax.numpy", "mser_jax.main", "data_prep.clip")
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.number}-{rule.who}")
def test_a_rule_holds(rule):
    bound = [name for name in modules(rule.who) if not below(name, rule.but)]
    assert bound
    for module in bound:
        if rule.only:
            assert not {name for name in imports(module) if not below(name, rule.only)}, module
        assert not {name for name in imports(module) if below(name, rule.never)}, module


def lean_modules() -> list[str]:
    return [name for one in LEAN for name in modules(one) if not below(name, READ_SHARDS)]


def test_what_trains_imports_with_few_libraries():
    names = json.dumps([BLOCKED, lean_modules()])
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, names], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for module in json.loads(done.stdout):
        # A bar is imported where it is shown, and does without its library.
        allowed = (*LIBRARIES, "mser_jax", "data_prep", *(["tqdm"] * module.endswith("progress")))
        strange = {name for name in imports(module) if name.split(".")[0] not in allowed}
        assert not strange, module


@pytest.mark.parametrize("package", ["mser_jax", "data_prep"])
def test_a_folder_says_what_it_is_for_and_holds_a_dozen_files(package):
    for folder in (path.parent for path in (ROOT / package).rglob("__init__.py")):
        files = [file for file in folder.glob("*.py") if not file.name.startswith("__")]
        assert len(files) <= 12, folder
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
        assert docstring, folder


def room_of(name: str) -> str:
    """The folder at the top that a module is in, or the module at the top."""
    return ".".join(name.split(".")[:2])


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The names that are left when those that point at no other are taken away in turn."""
    while ends := [name for name, others in arrows.items() if not others & arrows.keys()]:
        arrows = {name: others for name, others in arrows.items() if name not in ends}
    return sorted(arrows)


def test_nothing_is_imported_in_a_circle():
    names = [name for one in ("mser_jax", "data_prep") for name in modules(one)]
    # The face of a package imports its modules, and a module the version.
    faces = {name for name in names if path_of(f"{name}.__init__")}
    every = {name: imports(name) - {name} - faces for name in names if name not in faces}
    assert not circle(every)
    rooms: dict[str, set[str]] = {}
    for name, others in every.items():
        room = room_of(name)
        rooms.setdefault(room, set()).update({room_of(other) for other in others} - {room})
    assert not circle(rooms)
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}) == ["a", "b", "c"]
