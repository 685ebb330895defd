"""A store that several processes open at once, and the first time at that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from real.command import IMPORT, PYTHON

from pybuild.builder.workspace import place_of

OPEN = IMPORT + (
    "\nfrom pathlib import Path\nfrom pybuild.builder.workspace import Workspace\n"
    "print('ready', flush=True)\nsys.stdin.readline()\n"
    "with Workspace.open(Path(sys.argv[1])) as found:\n    found.database.add_memo('kind', sys.argv[2], b'x')\n"
)


def test_many_open_a_new_store_at_the_same_moment(tmp_path):
    for number in range(4):
        root = tmp_path / f"store{number}"
        crowd = [
            subprocess.Popen(
                [*PYTHON, OPEN, str(root), str(n)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for n in range(6)
        ]
        for process in crowd:
            assert process.stdout.readline() == b"ready\n"
        for process in crowd:
            process.stdin.write(b"\n")
            process.stdin.flush()
        errors = [process.communicate()[1].decode() for process in crowd]
        assert [process.returncode for process in crowd] == [0] * 6, errors


@pytest.mark.parametrize(
    ("given", "environ", "place"),
    [
        ("store", {}, "/home/me/store"),
        ("./a//b/", {}, "/home/me/a/b"),
        ("../b", {}, "/home/me/../b"),
        ("/store", {"PYBUILD_ROOT": "/other"}, "/store"),
        (Path("/store"), {}, "/store"),
        (None, {"PYBUILD_ROOT": "here"}, "/home/me/here"),
        (None, {}, "/var/lib/pybuild"),
    ],
)
def test_where_the_store_is(given, environ, place, monkeypatch):
    monkeypatch.setattr(os, "getcwd", lambda: "/home/me")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert place_of(given, environ) == place


def test_where_the_store_of_an_ordinary_user_is(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert place_of(None, {"HOME": "/home/me"}) == "/home/me/.local/share/pybuild"
    assert place_of(None, {"HOME": "/home/me", "XDG_DATA_HOME": "/data"}) == "/data/pybuild"


def test_a_place_that_is_named_in_full_is_found_from_a_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert place_of(f"{tmp_path}/store", {}) == f"{tmp_path}/store"
    assert place_of(None, {"PYBUILD_ROOT": f"{tmp_path}/a/./store"}) == f"{tmp_path}/a/store"
