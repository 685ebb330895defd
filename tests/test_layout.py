"""The architecture, held: which package may import which, where libraries may be imported, and that every module is short."""

from __future__ import annotations

import ast
import functools
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "pybuild": "pybuild",
    "builder": "pybuild.builder",
    "containers": "pybuild.containers",
    "grammar": "pybuild.grammar",
    "registry": "pybuild.registry",
}
ALLOWED = {
    "grammar": {"grammar"},
    "registry": {"registry"},
    "builder": {"builder", "grammar", "registry"},
    "containers": {"containers", "builder", "grammar", "registry"},
    "pybuild": {"pybuild", "containers", "builder", "grammar", "registry"},
}
ONE_PLACE = {
    "lark": {"grammar/lalr.py"},
    "typing": {"pybuild/hints.py"},
    "requests": {"registry/client.py"},
    "cheroot": {"pybuild/serving.py"},
    "isal": {"builder/layers/compression.py"},
    "zstandard": {"builder/layers/compression.py"},
    "ctypes": {"builder/sandbox/kernel.py"},
    "blake3": {"builder/contexts/context.py"},
}
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_there_are_modules():
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path):
    folder = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "pybuild":
            continue
        target = parts[1] if len(parts) > 1 and parts[1] in FOLDERS else "pybuild"
        if name in ("pybuild", "pybuild.__version__") and folder == "pybuild":
            continue
        if name.startswith(("pybuild.values", "pybuild.hints", "pybuild.lean")):
            # What all of them are made of; it imports nothing of ours.
            continue
        assert target in ALLOWED[folder], f"{folder} may not import {name}"


def test_what_everybody_may_import_imports_nothing_of_ours():
    for name, known in (("hints", set()), ("values", {"pybuild.hints"}), ("lean", {"pybuild.hints"})):
        found = {item for item in imports(ROOT / f"pybuild/{name}.py") if item.startswith("pybuild")}
        assert not {item for item in found if not item.startswith(tuple(known))}


@pytest.mark.parametrize("library", sorted(ONE_PLACE))
def test_a_library_has_one_place(library: str):
    users = {str(path.relative_to(ROOT)) for path in MODULES if any(name.split(".")[0] == library for name in imports(path))}
    assert users == ONE_PLACE[library]


def test_click_is_for_the_command_line_alone():
    users = {path for path in MODULES if any(name.split(".")[0] == "click" for name in imports(path))}
    assert users and all((ROOT / "pybuild" / "cli") in path.parents for path in users)


def test_every_package_is_listed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {
        ".".join((FOLDERS[path.relative_to(ROOT).parts[0]], *path.relative_to(ROOT).parts[1:-1]))
        for path in MODULES
        if path.name == "__init__.py"
    }
    assert listed == there


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_say_what_they_are_for(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 400, "two ideas are inside: split it"
    assert ast.get_docstring(ast.parse(text)), "no docstring"
