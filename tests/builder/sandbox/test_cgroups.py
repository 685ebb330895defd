"""Where control groups are, on machines of each kind, and what is written into them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pybuild.builder.sandbox import cgroups
from pybuild.builder.sandbox.cgroups import Group, Place, forget, places
from pybuild.builder.sandbox.confinement import Confinement

V1 = """\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""
OWN = "4:memory:/user/me\n2:cpu,cpuacct:/\n1:name=systemd:/user\n0::/user/me\n"


def unified(top: Path, controllers: str = "cpu memory pids") -> str:
    for folder in (top, top / "user", top / "user/me"):
        folder.mkdir(exist_ok=True)
        for name, content in (("cgroup.controllers", controllers), ("cgroup.subtree_control", ""), ("cgroup.procs", "")):
            (folder / name).write_text(content)
    return f"41 31 0:38 / {top} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"


def test_version_1():
    found = places(V1, OWN)
    assert found["memory"] == Place("/sys/fs/cgroup/memory/user/me", "/sys/fs/cgroup/memory", 1)
    assert found["cpu"].own == "/sys/fs/cgroup/cpu,cpuacct"
    assert "pids" not in found


def test_version_2(tmp_path):
    found = places(unified(tmp_path), "0::/user/me\n")
    assert found["memory"] == Place(f"{tmp_path}/user/me", str(tmp_path), 2)


def test_both_at_once_take_a_controller_where_it_is(tmp_path):
    found = places(V1 + unified(tmp_path, "pids"), OWN)
    assert (found["memory"].version, found["pids"].version) == (1, 2)


def test_none():
    assert places("22 1 0:20 / /proc rw - proc proc rw\n", "") == {}


def test_a_container_sees_its_own_part_of_the_tree():
    line = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n"
    assert places(line, "4:memory:/docker/abc\n")["memory"].own == "/sys/fs/cgroup/memory"
    assert places(line, "4:memory:/docker/abc/inner\n")["memory"].own == "/sys/fs/cgroup/memory/inner"


@pytest.fixture
def kernel(monkeypatch):
    """Makes a group's files with the group, and takes them away with it."""
    make, remove = os.mkdir, os.rmdir

    def mkdir(path, *rest, **more):
        make(path, *rest, **more)
        for name in ("cgroup.procs", "memory.max", "memory.swap.max", "cpu.max", "pids.max"):
            Path(path, name).write_text("")
        # What the kernel makes below a group that has processes, if it makes it at all.
        above = Path(path).parent / "cgroup.procs"
        has_processes = above.exists() and above.read_text() != ""
        Path(path, "cgroup.type").write_text("domain invalid\n" if has_processes else "domain\n")

    def rmdir(path, *rest, **more):
        for file in Path(path).iterdir():
            file.unlink()
        remove(path, *rest, **more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "rmdir", rmdir)


def test_version_2_is_asked_for_controllers_and_limits(tmp_path, monkeypatch, kernel):
    top = tmp_path / "top"
    line = unified(top)
    monkeypatch.setattr(cgroups, "here", lambda: places(line, "0::/user/me\n"))
    with cgroups.limited(Confinement(memory=64 << 20, cpus=1.5, pids=7), "x", str(tmp_path / "record")) as group:
        folder = top / "user/me/pybuild-x"
        assert group == Group((str(folder),), (), str(folder))
        assert (folder / "memory.max").read_text() == str(64 << 20)
        assert (folder / "memory.swap.max").read_text() == "0"
        assert (folder / "cpu.max").read_text() == "150000 100000"
        assert (folder / "pids.max").read_text() == "7"
        assert (tmp_path / "record").read_text() == f"{folder}\n"
        assert not group.ran_out_of_memory()
        (folder / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\n")
        assert group.ran_out_of_memory()
    assert not folder.exists()


def test_below_a_group_with_processes_there_is_no_group_for_them(tmp_path, monkeypatch, kernel):
    top = tmp_path / "top"
    line = unified(top)
    (top / "user/me/cgroup.procs").write_text("1\n")
    monkeypatch.setattr(cgroups, "here", lambda: places(line, "0::/user/me\n"))
    with cgroups.limited(Confinement(pids=7), "x", str(tmp_path / "record")) as group:
        assert group == Group((str(top / "user/pybuild-x"),))
        assert (top / "user/me/cgroup.subtree_control").read_text() == "-pids"
    assert not (top / "user/me/pybuild-x").exists()


def test_a_controller_that_our_group_lacks_may_be_had_above(tmp_path):
    line = unified(tmp_path)
    (tmp_path / "user/me/cgroup.controllers").write_text("memory pids")
    assert places(line, "0::/user/me\n")["cpu"] == Place(f"{tmp_path}/user/me", str(tmp_path), 2)


def test_what_cannot_be_enforced_is_said_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "here", dict)
    with cgroups.limited(Confinement(memory=1 << 20, pids=3), "x", str(tmp_path / "record")) as group:
        assert group.folders == ()
        assert [text.split()[0] for text in group.refused] == ["--memory", "--pids-limit"]


def test_only_groups_of_ours_are_forgotten(tmp_path):
    for name in ("pybuild-1", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "record").write_text(f"{tmp_path}/pybuild-1\n{tmp_path}/other\n{tmp_path}/pybuild-gone\n")
    forget(str(tmp_path / "record"))
    assert sorted(os.listdir(tmp_path)) == ["other", "record"]
