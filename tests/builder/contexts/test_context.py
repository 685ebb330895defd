"""A context's digest follows contents, modes and names, never times; ignored files do not exist."""

import os
import socket

import pytest

import pybuild
from pybuild.builder.contexts import context as contexts
from pybuild.builder.contexts.context import Context
from pybuild.builder.errors import BuildError, ContextError, CopyError
from pybuild.builder.layers.entry import BytesContent, Kind
from pybuild.builder.layers.index import walk
from pybuild.builder.layers.selection import Choice
from pybuild.builder.records.database import Database
from pybuild.builder.workspace import remove

OLD = 1_600_000_000


@pytest.fixture
def database(tmp_path_factory):
    return Database(tmp_path_factory.mktemp("db") / "pybuild.db")


@pytest.fixture
def folder(tmp_path):
    for name, content in {"a": "1", "d/b": "2", "d/e/c": "3", "x.log": "4"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def digest(folder, database, *sources):
    return Context.open(str(folder)).digest(Choice(sources or (".",)), database)


def test_touching_a_file_changes_nothing(folder, database):
    before = digest(folder, database)
    os.utime(folder / "a", (OLD, OLD))
    assert digest(folder, database) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a").write_text("other"),
        lambda folder: (folder / "a").chmod(0o600),
        lambda folder: (folder / "d/new").write_text(""),
        lambda folder: (folder / "d/b").rename(folder / "d/renamed"),
        lambda folder: (folder / "d/e").chmod(0o700),
        lambda folder: (folder / "link").symlink_to("a"),
    ],
)
def test_what_a_layer_would_show_changes_the_digest(folder, database, change):
    before = digest(folder, database)
    change(folder)
    assert digest(folder, database) != before


def test_same_size_and_time_but_other_content_is_seen(folder, database):
    os.utime(folder / "a", (OLD, OLD))
    before = digest(folder, database)
    (folder / "a").write_text("9")
    os.utime(folder / "a", (OLD, OLD))
    assert digest(folder, database) != before


def test_only_the_sources_count(folder, database):
    before = digest(folder, database, "d")
    (folder / "a").write_text("other")
    assert digest(folder, database, "d") == before


def test_ignored_files_do_not_exist(folder, database):
    (folder / ".dockerignore").write_text("*.log\nd\n!d/e\n")
    context = Context.open(str(folder))
    assert context.lookup("x.log") is None
    assert context.lookup("d/b") is None
    assert [entry.path for entry in context.children("d")] == ["d/e"]
    with pytest.raises(CopyError, match=r"x.log: excluded from the context by .dockerignore:1"):
        context.digest(Choice(("x.log",)), database)


def test_a_socket_is_an_empty_file(folder, database, monkeypatch):
    before = digest(folder, database)
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")
    assert digest(folder, database) != before
    entry = Context.open(str(folder)).lookup("s")
    assert (entry.kind, entry.size, entry.content) == (Kind.FILE, 0, BytesContent(b""))


def test_a_missing_source_is_named_with_what_is_close(folder, database):
    with pytest.raises(CopyError) as caught:
        digest(folder, database, "d/bb")
    assert caught.value.message == "d/bb: not found in the context"
    assert caught.value.hint == "did you mean d/b?"


@pytest.mark.parametrize(("name", "message"), [("missing", "no such folder"), ("a", "not a folder")])
def test_a_context_that_is_none(folder, name, message):
    with pytest.raises(ContextError, match=message):
        Context.open(str(folder / name))


def test_old_files_are_known_by_their_fingerprint(folder, database):
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.utime(os.path.join(top, name), (OLD, OLD))
    context = Context.open(str(folder))
    # The change times are now: too young to be trusted.
    assert context.fingerprint(Choice((".",))) is None
    assert digest(folder, database) == digest(folder, database)


def test_the_hash_of_a_file_is_kept_when_its_stamp_is_old_enough_to_tell_a_change(folder, database, monkeypatch):
    """Two writes within one tick of the file system's clock look alike."""
    monkeypatch.setattr(contexts, "_GRAIN_NS", 3600 * 10**9)
    digest(folder, database, "a")
    assert database.file_digests(str(folder)) == {}
    monkeypatch.setattr(contexts, "_GRAIN_NS", 0)
    digest(folder, database, "a")
    assert list(database.file_digests(str(folder))) == ["a"]


def test_a_ring_of_links_is_an_error(folder, database):
    (folder / "ring").symlink_to("ring")
    with pytest.raises(BuildError, match="too many symbolic links"):
        digest(folder, database, "ring")


def test_what_changes_while_it_is_copied_is_seen(folder):
    context = Context.open(str(folder))
    entries = [context.lookup("a")]
    assert not context.has_changed(entries)
    (folder / "a").write_text("changed")
    assert context.has_changed(entries)


@pytest.fixture
def deep(folder):
    """A directory of the context with others in it, deeper than Python's stack and pytest go, and two files at their end."""
    place = str(folder / "deep")
    for _ in range(1100):
        os.mkdir(place)
        place += "/d"
    for name in ("kept", "left-out"):
        open(place.removesuffix("d") + name, "x").close()
    yield folder
    remove(str(folder / "deep"))


def test_what_an_exception_brings_back_may_lie_deep(deep, database):
    (deep / ".dockerignore").write_text("deep\n!**/kept\n")
    context = Context.open(str(deep))
    found = [entry.name for entry in walk(context, "") if entry.kind is Kind.FILE]
    assert "kept" in found and "left-out" not in found
    assert digest(deep, database)


@pytest.mark.slow
def test_a_context_that_lies_deep_is_built_twice(deep, tmp_path_factory):
    (deep / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    assert pybuild.build(deep, verify_reproducible=True, timestamp=0, root=tmp_path_factory.mktemp("other") / "store")
