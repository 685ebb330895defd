"""What is remembered of plans is a pickle: it is read where nobody else could have written it, and nowhere else."""

from __future__ import annotations

import os

import pytest

from pybuild.builder.planning.memory import _Memory


def test_what_was_kept_is_known(workspace):
    _Memory(workspace).put("graph", "asked", ("a plan",))
    assert _Memory(workspace).get("graph", "asked") == ("a plan",)
    assert _Memory(workspace).get("graph", "another") is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_where_others_may_write_nothing_is_kept_or_read(workspace, mode):
    _Memory(workspace).put("graph", "before", ("a plan",))
    os.chmod(workspace.store.root, mode)
    memory = _Memory(workspace)
    assert memory.put("graph", "asked", ("a plan",)) == ("a plan",)
    assert memory.get("graph", "before") is None
    os.chmod(workspace.store.root, 0o700)
    assert _Memory(workspace).get("graph", "asked") is None


@pytest.mark.root
def test_nothing_of_somebody_else_s_is_read(workspace):
    _Memory(workspace).put("graph", "asked", ("a plan",))
    os.chown(workspace.store.root, 1000, 1000)
    assert _Memory(workspace).get("graph", "asked") is None


def test_what_is_no_plan_any_more_is_made_again(workspace):
    memory = _Memory(workspace)
    memory.put("graph", "asked", ("a plan",))
    with workspace.database.mutex:
        ((key,),) = workspace.database.connection.execute("select key from memos").fetchall()
    workspace.database.add_memo("graph", key, b"no pickle")
    assert memory.get("graph", "asked") is None
