"""Plain English in the code: docstrings say what a function does, names say what a thing is."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from helpers import ROOT

FOLDERS = ("mser_jax", "data_prep", "benchmarks", "configs")
VERBS = frozenset((ROOT / "tests" / "verbs.txt").read_text(encoding="utf-8").split())
LONGEST = 80  # characters of a docstring's first line

# Names that make a reader ask "which?": a name says what the thing is.
RIDDLES = frozenset((ROOT / "tests" / "riddles.txt").read_text(encoding="utf-8").split())


@functools.cache
def modules() -> dict[Path, ast.Module]:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}


def place(file: Path, node: ast.AST, name: str) -> str:
    return f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} {name}"


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def is_property(function: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def first_lines() -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """The place of each function that has a docstring, the function, and the first line."""
    for file, tree in modules().items():
        for function in functions(tree):
            if docstring := ast.get_docstring(function):
                yield place(file, function, function.name), function, docstring.splitlines()[0]


def test_a_function_is_described_by_a_verb():
    lines = [(at, line) for at, function, line in first_lines() if not is_property(function)]
    assert len(lines) > 1000
    assert not [(at, line) for at, line in lines if line.split()[0] not in VERBS]


def test_the_first_line_is_one_short_sentence():
    lines = [(at, line) for at, _, line in first_lines()]
    wrong = [(at, line) for at, line in lines if len(line) > LONGEST or line[-1] not in ".:"]
    assert not wrong


def names(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every name that is given in a module: functions, classes, arguments, variables, fields."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield node, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node, name


def test_no_name_is_a_riddle():
    given = [
        place(file, node, name)
        for file, tree in modules().items()
        for node, name in names(tree)
        if name.strip("_").lower() in RIDDLES and not name.startswith("__")
    ]
    assert not given
