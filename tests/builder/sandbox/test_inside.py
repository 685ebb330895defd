"""The child in a user namespace, of a program that has other threads at work in the same store."""

from __future__ import annotations

import threading
import time

import pytest

from pybuild.builder.sandbox.inside import inside
from pybuild.builder.workspace import Workspace
from pybuild.lean import sqlite3

pytestmark = [pytest.mark.root, pytest.mark.peers("newuidmap")]


def test_locks_of_other_threads_end_with_them_also_those_that_are_waited_for(store):
    first, second = threading.Event(), threading.Event()

    def hold(name, until):
        with store.lock(name, exclusive=True):
            until.wait(10)

    threads = [threading.Thread(target=hold, args=values) for values in (("a", first), ("b", first), ("b", second))]
    with store.lock("c", exclusive=True):
        for thread in threads:
            thread.start()
            # The third waits for what the second has.
            time.sleep(0.05)

        def listen(_):
            first.set()
            second.set()
            for thread in threads:
                thread.join()

        def can_be_had(name):
            with store.lock(name, exclusive=True, blocking=False) as is_held:
                return is_held

        def work(tell):
            tell("here")
            end = time.monotonic() + 5
            while not (can_be_had("a") and can_be_had("b")) and time.monotonic() < end:
                time.sleep(0.01)
            return [can_be_had(name) for name in "abc"]

        # What our own thread has locked stays so.
        assert inside(work, listen=listen, store=store.root) == [True, True, False]


def test_no_connection_of_another_thread_is_open_in_the_child(tmp_path):
    """SQLite would go by the locks of the parent: another process then changes what the child reads."""
    root = tmp_path / "store"
    with Workspace.open(root) as workspace:
        workspace.database.add_memo("kind", "key", b"here")

        def work(_):
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                workspace.database.connection.execute("select 1")
            with Workspace.open(root) as own:
                own.database.add_memo("kind", "key", b"there")
                return own.database.memo("kind", "key")

        before = workspace.database.connection
        assert inside(work) == b"there"
        assert workspace.database.connection is not before
        assert workspace.database.memo("kind", "key") == b"there"
    with pytest.raises(sqlite3.ProgrammingError):
        workspace.database.connection.execute("select 1")


def test_a_child_that_finds_no_proc_says_so(tmp_path, monkeypatch):
    """Its first word is its number: what goes wrong comes behind that, and is not taken for one."""

    def nothing(_):
        raise FileNotFoundError(2, "No such file or directory", "/proc/self/fd")

    monkeypatch.setattr("pybuild.builder.sandbox.inside._let_go_of_locks", nothing)
    with pytest.raises(FileNotFoundError):
        inside(lambda _: None, store=str(tmp_path))
