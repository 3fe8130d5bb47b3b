"""Who may import whom (docs/design.md): the rules that keep the parts apart."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STANDARD = frozenset(sys.stdlib_module_names)

ON_THE_DEVICE = (
    *("parallel", "train", "losses", "optimizer", "schedules", "state", "augment", "folds"),
    "feed",
)
FROM_THE_TABLE = (
    *("table", "select", "failures", "metrics", "scoring", "published", "paired"),
    *("ablation", "compare", "inflated", "ensemble", "suite_results", "zoo"),
    *("calibration", "hardest"),
)
OF_THE_REPORT = (
    *("report", "score_report", "training_report", "provenance_report", "paired_report"),
    *(
        "ablation_report",
        "compare_report",
        "suite_report",
        "calibration_report",
        "hardest_report",
        "wording",
        "page",
        "plots",
        "curves",
        "history",
    ),
)
OF_A_MOVEMENT = (
    *("reason_page", "reason_sections", "reason_shown", "reason_text", "reason_pictures"),
)
SEES_THE_CONFIGURATION = (
    *("main", "config", "megc2019", "run", "build", "networks", "series", "suite", "summary"),
    *("workdir", "export", "trained", "asking", "passing", "predict", "reasons"),
)

# What mser_jax takes from data_prep, beside its errors and the checks of values.
PLAIN = {"data_prep.common.errors", "data_prep.common.check", "data_prep.common.fields"}
BRIDGES = {
    "main": {"data_prep.common.command"},
    "config": {"data_prep.config"},
    "megc2019": {"data_prep.config"},
    "run": {"data_prep.pipeline.prepare", "data_prep.common.folders"},
    "suite": {"data_prep.pipeline.prepare", "data_prep.common.folders"},
    "data": {"data_prep.shards.dataset"},
    "summary": {"data_prep.common.command", "data_prep.datasets"},
    "clip_pictures": {
        "data_prep.common.cv",
        "data_prep.preview.flow_colour",
        "data_prep.shards.dataset",
    },
    "export": {"data_prep.common.command", "data_prep.config", "data_prep.common.folders"},
    "asked": {"data_prep.spotting.watcher"},
    "model_folder": {"data_prep.common.folders", "data_prep.pipeline.record"},
    "predict": {
        *(
            "data_prep.common.progress",
            "data_prep.common.command",
            "data_prep.common.folders",
            "data_prep.video.frames",
        ),
    },
    "trained": {
        *(
            "data_prep.clip",
            "data_prep.common.command",
            "data_prep.config",
            "data_prep.pipeline.record",
        ),
        *("data_prep.spotting.watcher", "data_prep.spotting.found"),
    },
    "given": {"data_prep.clip", "data_prep.video.file"},
    "asking": {
        *("data_prep.config", "data_prep.common.folders", "data_prep.video.frames"),
        *("data_prep.pipeline.video_source", "data_prep.video.stream"),
    },
    "passing": {
        *("data_prep.stages.landmarks", "data_prep.video.stream", "data_prep.spotting.watcher"),
        "data_prep.spotting.found",
    },
    **{name: {"data_prep.spotting.found"} for name in ("answers", "answer_files", "answer_view")},
    "overlay": {"data_prep.common.progress", "data_prep.common.cv", "data_prep.spotting.found"},
    "overlay_panel": {"data_prep.common.cv"},
    "reason_sections": {"data_prep.preview.flow_colour"},
    "reason_pictures": {"data_prep.common.cv"},
}

BLOCKED = ("tensorflow", "tensorflow_datasets", "grain", "ml_collections", "cv2", "matplotlib")
TRAINS_WITHOUT = f"""
import json, sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # an import of it fails
import mser_jax.train.step, mser_jax.parallel, mser_jax.models
print(json.dumps([name for name in sys.modules if name.startswith("mser_jax")]))
"""


def path_of(module: str) -> Path | None:
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
    path = path_of(module)
    assert path, f"there is no module {module}: correct the rule"
    return set(names_imported(path.read_text(encoding="utf-8")))


def modules(package: str) -> list[str]:
    files = ROOT.joinpath(package).rglob("*.py")
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return sorted(name.removesuffix(".__init__") for name in names)


def beyond(module: str, *allowed: str) -> set[str]:
    """What a module imports beside the standard library and those named, or below them."""
    return {
        name
        for name in imports(module)
        if name.split(".")[0] not in STANDARD
        and not any(name == one or name.startswith(one + ".") for one in allowed)
    }


def test_every_kind_of_import_is_seen():
    lines = (
        "import jax.numpy as jnp",
        "from mser_jax import train",
        "def f(): import data_prep.common.cv",
    )
    assert set(names_imported("\n".join(lines))) == {
        "jax.numpy",
        "mser_jax.train.step",
        "data_prep.common.cv",
    }


@pytest.mark.parametrize(
    "module", [*modules("mser_jax/models"), "mser_jax.predict.explain.gradcam"]
)
def test_networks_know_only_jax_and_themselves(module):
    assert not beyond(module, "jax", "flax", "jaxtyping", "numpy", "mser_jax.models")


@pytest.mark.parametrize("module", ON_THE_DEVICE)
def test_training_needs_no_library_of_the_data(module):
    allowed = ("jax", "flax", "optax", "numpy", "jaxtyping", "tqdm", "mser_jax")
    assert not beyond(f"mser_jax.{module}", *allowed)


@pytest.mark.parametrize("module", FROM_THE_TABLE)
def test_figures_are_functions_of_the_table_alone(module):
    ours = {f"mser_jax.{name}" for name in FROM_THE_TABLE}
    assert not beyond(f"mser_jax.{module}", "numpy", "scipy", *PLAIN, *ours)


@pytest.mark.parametrize("module", OF_THE_REPORT)
def test_the_report_reads_the_table_and_the_log(module):
    ours = {f"mser_jax.{name}" for name in (*FROM_THE_TABLE, *OF_THE_REPORT)}
    assert not beyond(f"mser_jax.{module}", "numpy", "matplotlib", *PLAIN, *ours)


@pytest.mark.parametrize("module", OF_A_MOVEMENT)
def test_the_page_of_a_movement_is_drawn_from_what_was_found(module):
    found = {
        "mser_jax.predict.answers",
        "mser_jax.predict.views.common",
        "mser_jax.predict.explain.gradcam",
        "data_prep.common.files",
    }
    ours = {f"mser_jax.{name}" for name in (*OF_A_MOVEMENT, "page", "plots", "wording")}
    taken = BRIDGES.get(module, set())
    assert not beyond(f"mser_jax.{module}", "numpy", "matplotlib", *PLAIN, *found, *ours, *taken)


@pytest.mark.parametrize("module", modules("data_prep"))
def test_preprocessing_never_sees_the_training(module):
    seen = {name.split(".")[0] for name in imports(module)}
    assert not seen & {"mser_jax", "flax", "optax", "orbax", "grain"}
    assert "jax" not in seen or module in ("data_prep.stages.flow", "data_prep.stages.flow_images")


@pytest.mark.parametrize("module", [m for m in modules("mser_jax") if m != "mser_jax"])
def test_the_bridges_to_the_preprocessing_are_few(module):
    taken = {name for name in imports(module) if name.split(".")[0] == "data_prep"}
    own_name = module.removeprefix("mser_jax.")
    assert taken <= BRIDGES.get(own_name, set()) | PLAIN


@pytest.mark.parametrize("module", [m for m in modules("mser_jax") if m != "mser_jax"])
def test_the_configuration_stops_above_the_training(module):
    if module.removeprefix("mser_jax.") in SEES_THE_CONFIGURATION:
        return
    above = {f"mser_jax.{name}" for name in SEES_THE_CONFIGURATION}
    seen = {name for name in imports(module) if name.split(".")[0] in ("ml_collections", "absl")}
    assert not seen | (imports(module) & above)


def test_training_runs_where_no_data_library_is_installed():
    done = subprocess.run(
        [sys.executable, "-c", TRAINS_WITHOUT], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[1] for name in json.loads(done.stdout) if "." in name}
    assert {"train", "parallel", "models"} <= loaded
    assert not loaded & {*SEES_THE_CONFIGURATION, *OF_THE_REPORT, "data", "evaluate"}
