"""File indexes in SQLite answer as the entries themselves do."""

from __future__ import annotations

import os
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import IMPLIED, RecipeView
from pybuild.builder.layers.stored import FileIndexes

ENTRIES = (
    Entry("d", Kind.DIRECTORY, 0o1777, 5, 6, mtime_ns=-7),
    Entry("d", Kind.OPAQUE),
    Entry("d/f", Kind.FILE, 0o4755, 2**32 - 2, 1, 9 << 30, 2**62, xattrs=(("security.capability", b"\0\xff"), ("user.x", b""))),
    Entry("d/hard", Kind.HARDLINK, link="d/f"),
    Entry("implied/deep/l", Kind.SYMLINK, 0o777, link="../ü"),
    Entry(os.fsdecode(b"\xff\xfe"), Kind.BLOCK, 0o600, device=(259, 70000)),
    Entry("gone", Kind.WHITEOUT),
)


def indexes() -> FileIndexes:
    return FileIndexes(sqlite3.connect(":memory:", isolation_level=None))


def assert_same(one, other, directory=""):
    assert one.get(directory) == other.get(directory)
    assert one.is_opaque(directory) == other.is_opaque(directory)
    children = sorted(one.children(directory))
    assert children == sorted(other.children(directory))
    for entry in children:
        assert one.get(entry.path) == entry == other.get(entry.path)
        if entry.kind is Kind.DIRECTORY:
            assert_same(one, other, entry.path)


def test_everything_comes_back():
    found = indexes()
    found.add("one", ENTRIES)
    assert_same(found.view("one"), RecipeView(ENTRIES))
    assert found.view("one").get("implied/deep").mode == IMPLIED
    assert found.view("one").get("missing") is None


def test_layers_are_kept_apart_and_forgotten_one_by_one():
    found = indexes()
    found.add("one", ENTRIES)
    found.add("two", [Entry("other", Kind.FILE)])
    found.forget("one")
    found.forget("one")
    assert (found.has("one"), found.has("two")) == (False, True)
    assert [entry.path for entry in found.view("two").children("")] == ["other"]
    assert list(found.view("one").children("")) == []


def test_a_row_that_is_not_as_it_was_written_is_an_error():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    found = FileIndexes(connection)
    found.add("one", ENTRIES)
    connection.execute("update entries set mode = mode | 2 where name = x'66'")
    view = found.view("one")
    assert view.get("d") is not None
    for look in (view.get, view.is_opaque):
        with pytest.raises(LayerError, match="index of a layer is damaged"):
            look("d/f")
    with pytest.raises(LayerError, match="index of a layer is damaged"):
        view.children("d")


def test_what_fails_leaves_nothing():
    def broken():
        yield Entry("a", Kind.FILE)
        raise KeyboardInterrupt

    found = indexes()
    try:
        found.add("one", broken())
    except KeyboardInterrupt:
        pass
    assert not found.has("one")


def test_two_processes_may_keep_the_same_index(tmp_path):
    # Threads with a connection each are to SQLite what processes are.
    path = tmp_path / "x.db"
    sqlite3.connect(path).execute("pragma journal_mode=wal").close()
    FileIndexes(sqlite3.connect(path, isolation_level=None))
    many = [Entry(f"d{number}", Kind.DIRECTORY) for number in range(2000)]
    barrier = threading.Barrier(4)
    errors = []

    def work():
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            found = FileIndexes(connection)
            barrier.wait()
            found.add("one", many)
            assert len(list(found.view("one").children(""))) == 2000
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=0, max_size=3).map("/".join)
KINDS = st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.WHITEOUT, Kind.OPAQUE])


@given(st.lists(st.tuples(PATHS, KINDS), max_size=12))
def test_any_layer_is_the_same_from_the_index(pairs):
    layer = [
        Entry(path, kind, 0o755, link="x" if kind is Kind.SYMLINK else "")
        for path, kind in pairs
        if path or kind in (Kind.DIRECTORY, Kind.OPAQUE)
    ]
    found = indexes()
    found.add("one", layer)
    assert_same(found.view("one"), RecipeView(layer))
