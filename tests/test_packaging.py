"""What is installed is what is in the tree: sdist, wheel, `pip install .` and `pip install -e .`, each in its own environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("builder", "containers", "grammar", "pybuild", "registry")
# Not in a build's input: what is ignored by git, and what is large.
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")


def run(*command: object, cwd: Path | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_TARGET"))}
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def modules() -> set[str]:
    """Every module and data file that has to be installed, as paths of the package."""
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".lark", ".tables", ".typed", ".bpf", ".elf") or path.name == "py.typed":
                relative = path.relative_to(ROOT)
                found.add(str(relative if folder == "pybuild" else Path("pybuild") / relative))
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packaging") / "tree"
    shutil.copytree(ROOT, folder, ignore=_LEFT_OUT, symlinks=True)
    return folder


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that was made from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree)
    return out


def environment(folder: Path) -> Path:
    """A fresh environment that borrows our dependencies but not our pybuild; its python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    borrowed = next(path for path in sys.path if path.endswith("site-packages") and (Path(path) / "click").is_dir())
    places = next((folder / "lib").glob("python*/site-packages"))
    for path in Path(borrowed).iterdir():
        if "pybuild" not in path.name and not path.name.endswith(".pth"):
            (places / path.name).symlink_to(path)
    return python


def works(python: Path, folder: Path) -> None:
    """The command and the library work, from a folder with names that could be taken for ours."""
    folder.mkdir()
    for name in ("builder", "grammar", "registry"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\nENTRYPOINT x\n")
    command = (python.with_name("pybuild"), "--root", folder / "store")
    assert "container image builder" in run(*command, "--version", cwd=folder)
    run(*command, "build", "-t", "packaged", ".", cwd=folder)
    assert "packaged" in run(*command, "images", cwd=folder)
    run(python, "-c", "import pybuild; from pybuild.grammar.parser import parse; pybuild.build, pybuild.push", cwd=folder)


@pytest.mark.slow
def test_the_wheel_has_every_module_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == modules()


@pytest.mark.slow
def test_the_sdist_has_what_a_build_needs(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "grammar/dockerfile.lark", "pybuild/py.typed"} <= names
    assert {name.removeprefix("pybuild/") if name.split("/")[1] in FOLDERS else name for name in modules()} <= names


@pytest.mark.slow
def test_the_installed_wheel_works(built, tmp_path):
    python = environment(tmp_path / "venv")
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    works(python, tmp_path / "work")


@pytest.mark.slow
def test_an_editable_install_works(tree, tmp_path):
    python = environment(tmp_path / "venv")
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    run(*install, "--no-build-isolation", "--editable", tree)
    works(python, tmp_path / "work")
    assert str(tree / "registry") in run(python, "-c", "import pybuild.registry; print(pybuild.registry.__file__)", cwd=tmp_path)
