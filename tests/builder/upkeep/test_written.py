"""Trees after the power went: trusted when the kernel had time to write them, else made anew."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pybuild.builder.upkeep import written
from pybuild.builder.workspace import adopt_tree


@pytest.fixture
def tree(workspace) -> Path:
    made = Path(workspace.tree_path("made"))
    Path(workspace.store.root, "tmp/new").mkdir()
    adopt_tree(f"{workspace.store.root}/tmp/new", str(made))
    return made


def restarted(tree: Path, seconds_before: float) -> None:
    """Make it look as if the tree was made so long before the machine started for the last time."""
    started = time.time() - float(Path("/proc/uptime").read_text().split()[0])
    mark = tree.parent.parent / written.MARK
    mark.write_text("another boot")
    os.utime(mark, (started - seconds_before,) * 2)


def test_in_the_same_boot_a_tree_stays(workspace, tree):
    workspace.clean()
    assert tree.is_dir()


def test_made_just_before_another_boot_it_goes(workspace, tree):
    restarted(tree, 5)
    workspace.clean()
    assert not tree.exists() and not os.listdir(tree.parent)


def test_made_long_before_it_stays(workspace, tree):
    restarted(tree, 1000)
    workspace.clean()
    assert tree.is_dir()


def test_while_another_build_is_at_work_nothing_goes(workspace, tree):
    restarted(tree, 5)
    with workspace.store.lock("build", exclusive=False):
        workspace.clean()
    assert tree.is_dir()


def test_a_new_tree_is_of_this_boot(workspace, tree):
    restarted(tree, 1000)
    Path(workspace.store.root, "tmp/new").mkdir()
    adopt_tree(f"{workspace.store.root}/tmp/new", workspace.tree_path("newer"))
    assert (tree.parent.parent / written.MARK).read_text() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
