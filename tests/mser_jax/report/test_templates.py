"""The templates of the pages: all are used, and none prints data as HTML."""

import re

import jinja2
import pytest

from helpers import ROOT
from mser_jax.report import page

FOLDER = ROOT / "mser_jax" / "report" / "templates"
TEMPLATES = {
    path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.rglob("*"))
    if path.is_file()
}
CODE = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "mser_jax").rglob("*.py"))]


def test_every_template_is_used():
    text = "\n".join([*TEMPLATES.values(), *CODE])
    assert len(TEMPLATES) > 15
    assert not [name for name in TEMPLATES if f'"{name}"' not in text]


def test_every_macro_is_used():
    text = "\n".join(TEMPLATES.values())
    macros = re.findall(r"{% macro (\w+)\(", text)
    assert len(macros) > 10
    calls = re.findall(r"(?<!macro )\b(\w+)\(", text)
    assert not set(macros) - set(calls)


def test_every_class_of_the_style_sheet_is_used():
    style = re.sub(r"/\*.*?\*/", "", TEMPLATES["style.css"], flags=re.DOTALL)
    selectors = " ".join(re.findall(r"[^{}]+(?={)", style))
    classes = set(re.findall(r"\.([a-z]+)", selectors))
    used = "\n".join([*(text for name, text in TEMPLATES.items() if name != "style.css"), *CODE])
    assert "scroll" in classes
    assert not {name for name in classes if not re.search(rf"\b{name}\b", used)}


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_template_prints_data_as_html(name):
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", TEMPLATES[name])


def test_the_python_of_the_pages_has_no_html():
    folders = (ROOT / "mser_jax" / "report", ROOT / "mser_jax" / "predict" / "explain")
    files = {path for folder in folders for path in folder.rglob("*.py")}
    assert len(files) > 15
    for path in files - {ROOT / "mser_jax" / "report" / "page.py"}:  # it allows breaks in paths
        assert not re.search(r"</?[a-z]+[ >]", path.read_text(encoding="utf-8")), path


def test_a_missing_value_is_an_error_and_every_value_is_escaped():
    environment = page._environment()
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string("{{ missing }}").render()
    source = """{% from "macros.html" import definition, stacked, table, tagged %}
    {{ table([x], [[stacked(x, x), tagged(x, x)]], 0) }}{{ definition(x, x | breakable) }}"""
    text = environment.from_string(source).render(x="<i>/&")
    assert "<i>" not in text
    assert text.count("&lt;i&gt;/") == 7
