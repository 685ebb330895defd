"""COPY and ADD onto an image, by index alone: BuildKit's rules, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.errors import CopyError
from pybuild.builder.layers.copying import CopyRequest, Origin, copied, made_directory
from pybuild.builder.layers.entry import BytesContent, Entry, Kind
from pybuild.builder.layers.index import MergedView, RecipeView
from pybuild.builder.layers.modes import Mode
from pybuild.builder.layers.selection import Choice

TIME = 5 * 10**9


def file(path: str, content: str = "x", **values: object) -> Entry:
    return Entry(path, Kind.FILE, 0o644, size=len(content), mtime_ns=TIME, content=BytesContent(content.encode()))._replace(
        **values
    )


def directory(path: str, **values: object) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0o750, 0, 0, mtime_ns=TIME)._replace(**values)


def link(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, mtime_ns=TIME, link=target)


SOURCE = (
    file("a", "A", uid=7, gid=8, mode=0o4755),
    file("b", "B"),
    directory("d"),
    file("d/one", "1"),
    directory("d/sub"),
    file("d/sub/two", "2"),
    link("d/link", "one"),
    link("to-d", "d"),
    link("to-a", "a"),
    link("up", "../../a"),
    directory("empty"),
)


def view(*layers):
    return MergedView([RecipeView(layer) for layer in layers])


def copy(
    *sources, to, below=((),), unpack=None, owner=None, mode=None, keeps_owner=False, source=SOURCE, parents=False, excludes=()
):
    origin = Origin(
        view(source), Choice(sources, parents, tuple(excludes)), lambda path: None, keeps_owner=keeps_owner, unpack=unpack
    )
    draft = copied(CopyRequest(to, owner, Mode(mode) if mode else None), [origin], view(*below))
    return {entry.path: entry for entry in draft.entries()}


@pytest.mark.parametrize(
    ("sources", "to", "paths"),
    [
        (("a",), "/x", ["x"]),
        (("a",), "/x/", ["x", "x/a"]),
        (("a", "b"), "/x/", ["x", "x/a", "x/b"]),
        (("/a",), "/x", ["x"]),
        (("../../a",), "/x", ["x"]),
        (("./d/../a",), "/x", ["x"]),
        (("d",), "/x", ["x", "x/link", "x/one", "x/sub", "x/sub/two"]),
        (("d/",), "/x/y/", ["x", "x/y", "x/y/link", "x/y/one", "x/y/sub", "x/y/sub/two"]),
        (("d/sub",), "/", ["two"]),
        (("?",), "/x/", ["x", "x/a", "x/b", "x/link", "x/one", "x/sub", "x/sub/two"]),
        (("d/*e",), "/x/", ["x", "x/one"]),
        (("none*",), "/x/", []),
        (("[ab]",), "/x/", ["x", "x/a", "x/b"]),
        (("to-d",), "/x", ["x", "x/link", "x/one", "x/sub", "x/sub/two"]),
        (("to-a",), "/x/", ["x", "x/to-a"]),
        (("empty",), "/x", ["x"]),
    ],
)
def test_what_lands_where(sources, to, paths):
    assert sorted(copy(*sources, to=to)) == paths


def test_a_directory_there_is_copied_into_with_and_without_a_slash():
    below = ((directory("x", mode=0o700, uid=3), file("x/old")),)
    for to in ("/x", "/x/"):
        found = copy("a", to=to, below=below)
        assert sorted(found) == ["x", "x/a"]
        assert (found["x"].mode, found["x"].uid) == (0o700, 3)


def test_links_in_the_destination_are_followed_inside_the_image():
    below = ((directory("usr"), directory("usr/lib"), link("lib", "usr/lib"), link("up", "../../usr")),)
    assert "usr/lib/a" in copy("a", to="/lib/", below=below)
    assert "usr/lib/new/a" in copy("a", to="/lib/new/", below=below)
    assert "usr/a" in copy("a", to="/up/", below=below)
    assert "usr/lib" in copy("d", to="/lib", below=below) and "usr/lib/one" in copy("d", to="/lib", below=below)


def test_a_link_inside_a_copied_tree_stays_a_link():
    entry = copy("d", to="/x")["x/link"]
    assert (entry.kind, entry.link) == (Kind.SYMLINK, "one")


def test_a_link_that_leads_out_of_the_source_stays_inside():
    assert copy("up", to="/x")["x"].content == BytesContent(b"A")


def test_owners_and_modes():
    assert (copy("a", to="/x")["x"].uid, copy("a", to="/x")["x"].mode) == (0, 0o4755)
    assert copy("a", to="/x", keeps_owner=True)["x"].uid == 7
    found = copy("a", to="/p/q/", owner=(1, 2), mode="640")
    assert {path: (entry.uid, entry.gid, entry.mode) for path, entry in found.items()} == {
        "p": (1, 2, 0o640),
        "p/q": (1, 2, 0o640),
        "p/q/a": (1, 2, 0o640),
    }
    parents = copy("a", to="/p/q")["p"]
    assert (parents.mode, parents.uid, parents.mtime_ns) == (0o755, 0, TIME)
    # A directory that is a source is not copied itself: what it goes to is made as any other on the way, but for the time.
    assert (copy("d", to="/x")["x"].mode, copy("d", to="/x")["x"].mtime_ns) == (0o755, TIME)
    assert copy("d", to="/x")["x/sub"].mode == 0o750
    assert copy("d", to="/x", mode="600")["x/link"].mode == 0o777


@pytest.mark.parametrize(
    ("sources", "to", "below", "message"),
    [
        (("d",), "/f", ((file("f"),),), "no directory"),
        (("d",), "/x", ((directory("x"), file("x/sub")),), "no directory"),
        (("a",), "/f/", ((file("f"),),), "no directory"),
        (("a",), "/f/g", ((file("f"),),), "no directory"),
        (("d",), "/x", ((directory("x"), directory("x/one")),), "is a directory"),
        (("a", "b"), "/x", ((),), "single name"),
        (("[ab]",), "/x", ((),), "single name"),
        (("missing",), "/x", ((),), "missing: not found"),
        (("a",), "/r/x", ((link("r", "s"), link("s", "r")),), "too many symbolic links"),
    ],
)
def test_what_cannot_be(sources, to, below, message):
    with pytest.raises(CopyError, match=message):
        copy(*sources, to=to, below=below)


def test_a_file_takes_the_place_of_a_file_and_of_a_link_below_it():
    assert copy("b", to="/f", below=((file("f"),),))["f"].content == BytesContent(b"B")
    assert "real" in copy("b", to="/f", below=((file("real"), link("f", "real")),))


def test_a_link_in_the_image_that_has_a_copied_files_name_is_replaced():
    found = copy("b", to="/x/", below=((directory("x"), file("x/real"), link("x/b", "real")),))
    assert found["x/b"].kind is Kind.FILE and "x/real" not in found


def test_links_that_a_pattern_meets_are_not_followed():
    assert sorted(copy("*/one", to="/x/")) == ["x", "x/one"]
    assert sorted(copy("to-d/*ne", to="/x/")) == ["x", "x/one"]


def test_chmod_in_letters_is_worked_out_for_each_file():
    found = copy("d", to="/p/x", mode="u=rwX,go=rX")
    assert {path: entry.mode for path, entry in found.items()} == {
        "p": 0o755,
        "p/x": 0o755,
        "p/x/link": 0o777,
        "p/x/one": 0o644,
        "p/x/sub": 0o755,
        "p/x/sub/two": 0o644,
    }


@pytest.mark.parametrize(
    ("sources", "excludes", "paths"),
    [
        (("d",), ("one",), ["link", "sub", "sub/two"]),
        (("d",), ("sub",), ["link", "one"]),
        (("d",), ("**", "!sub"), ["sub", "sub/two"]),
        (("d",), ("*", "!sub/two"), ["sub", "sub/two"]),
        (("d",), ("/one",), ["link", "one", "sub", "sub/two"]),
        (("d",), ("d/one",), ["link", "one", "sub", "sub/two"]),
        ((".",), ("d/*", "to-*", "[ab]", "up", "!d"), ["d", "empty"]),
        # What a source itself names is copied, as in BuildKit.
        (("a",), ("a",), ["a"]),
        (("?",), ("a",), ["a", "b", "link", "one", "sub", "sub/two"]),
    ],
)
def test_exclude(sources, excludes, paths):
    assert sorted(copy(*sources, to="/x/", excludes=excludes)) == ["x", *(f"x/{path}" for path in paths)]


@pytest.mark.parametrize(
    ("sources", "paths"),
    [
        (("d/one",), ["d", "d/one"]),
        (("d/sub/two", "a"), ["a", "d", "d/sub", "d/sub/two"]),
        (("d/./sub/two",), ["sub", "sub/two"]),
        (("./d/./sub",), ["sub", "sub/two"]),
        (("/d/./*/two",), ["sub", "sub/two"]),
        (("**/two",), ["d", "d/sub", "d/sub/two"]),
        (("d",), ["d", "d/link", "d/one", "d/sub", "d/sub/two"]),
        (("none*/x",), []),
        (("to-a",), ["to-a"]),
        (("/d/sub/two",), ["d", "d/sub", "d/sub/two"]),
        (("/d/sub/.",), ["d", "d/sub", "d/sub/two"]),
        (("d/sub/",), ["d", "d/sub", "d/sub/two"]),
        (("d/.//sub/",), ["sub", "sub/two"]),
        (("/**/two",), ["d", "d/sub", "d/sub/two"]),
    ],
)
def test_parents(sources, paths):
    assert sorted(copy(*sources, to="/x/", parents=True)) == ["x", *(f"x/{path}" for path in paths)]


def test_directories_before_a_name_are_as_in_the_source_but_for_the_owner_of_those_that_are_there():
    found = copy(
        "d/sub/two", to="/x/", parents=True, owner=(1, 2), below=((directory("x"), directory("x/d", mode=0o700, uid=9)),)
    )
    assert (found["x/d"].mode, found["x/d"].uid) == (0o750, 9)
    assert (found["x/d/sub"].mode, found["x/d/sub"].uid) == (0o750, 1)
    assert sorted(copy("d", to="/x/", parents=True, excludes=("**/one", "*/link"))) == ["x", "x/d", "x/d/sub", "x/d/sub/two"]


@pytest.mark.parametrize(
    ("source", "message"),
    [("d/none", "d/none: not found"), ("to-d/one", "to-d is a link"), ("d/[", "not a pattern"), ("x/./y", "x: not found")],
)
def test_parents_that_cannot_be(source, message):
    with pytest.raises(CopyError, match=message):
        copy(source, to="/x/", parents=True)


def test_archives_go_into_a_directory_without_its_slash():
    def unpack(entry):
        return [file(f"of-{entry.path}")] if entry.path in ("a", "b") else None

    assert sorted(copy("a", "b", to="/x", unpack=unpack)) == ["x", "x/of-a", "x/of-b"]
    with pytest.raises(CopyError, match="2 sources"):
        copy("a", "d/one", to="/x", unpack=unpack)


def test_directories_go_into_one_without_its_slash_and_a_file_beside_them_does_not():
    assert sorted(copy("d/sub", "empty", to="/x")) == ["x", "x/two"]
    assert sorted(copy("d/su*", "d", to="/x", excludes=("one",))) == ["x", "x/link", "x/sub", "x/sub/two", "x/two"]
    assert sorted(copy("d/one", "d/sub", to="/x", parents=True)) == ["x", "x/d", "x/d/one", "x/d/sub", "x/d/sub/two"]
    with pytest.raises(CopyError, match="2 sources"):
        copy("d", "a", to="/x")


def test_hard_links_within_one_copy_are_kept():
    source = (directory("d"), file("d/a", "A"), Entry("d/b", Kind.HARDLINK, link="d/a"), file("d/c", "A"))

    class Linked(MergedView):
        def identity(self, entry):
            return "same" if entry.path in ("d/a", "d/b") else None

    origin = Origin(Linked([RecipeView(source)]), Choice(("d",)), lambda path: None)
    draft = copied(CopyRequest("/x"), [origin], view(()))
    found = {entry.path: (entry.kind, entry.link) for entry in draft.entries()}
    assert found["x/b"] == (Kind.HARDLINK, "x/a")
    assert found["x/a"][0] is found["x/c"][0] is Kind.FILE


def test_an_archive_is_unpacked_where_it_is_added_and_takes_the_place_of_what_is_there():
    inside = (directory("e", mode=0o711), file("e/f", "F", uid=9), link("e/l", "f"))
    found = copy("a", to="/x", below=((directory("x"), directory("x/e"), directory("x/e/f")),), unpack=lambda entry: inside)
    assert sorted(found) == ["x", "x/e", "x/e/f", "x/e/l"]
    assert found["x/e/f"].kind is Kind.FILE and found["x/e/f"].uid == 9
    assert sorted(copy("a", to="/x/", unpack=lambda entry: None)) == ["x", "x/a"]


def test_names_that_mean_deletion_are_refused():
    with pytest.raises(CopyError, match="cannot hold this name"):
        copy(".wh.x", to="/x/", source=(file(".wh.x"),))


def test_lower_layers_show_through_and_whiteouts_hide():
    layers = ((Entry("x", Kind.WHITEOUT),), (directory("x"), file("x/old")))
    assert view(*layers).lookup("x") is None
    assert copy("a", to="/x", below=layers).keys() == {"x"}
    opaque = ((directory("x"), Entry("x", Kind.OPAQUE), file("x/new")), (directory("x"), file("x/old")))
    assert [entry.path for entry in view(*opaque).children("x")] == ["x/new"]


def test_workdir_is_made_with_its_parents_or_not_at_all():
    made = made_directory("/p/q", view((directory("p", mode=0o700),)), mtime_ns=TIME)
    assert made.has_new
    assert [(entry.path, entry.mode) for entry in made.entries()] == [("p", 0o700), ("p/q", 0o755)]
    assert not made_directory("/p", view((directory("p"),)), mtime_ns=TIME).has_new
    assert not made_directory("/l", view((directory("p"), link("l", "p"))), mtime_ns=TIME).has_new


NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def trees(draw):
    """A layer that makes sense: parents before what is in them."""
    entries, folders = [], [""]
    for _ in range(draw(st.integers(0, 8))):
        parent, name = draw(st.sampled_from(folders)), draw(NAMES)
        path = f"{parent}/{name}".lstrip("/")
        if any(entry.path == path for entry in entries):
            continue
        kind = draw(st.sampled_from(["file", "directory", "link"]))
        if kind == "directory":
            folders.append(path)
        target = draw(st.sampled_from(["a", "../b", "/c", "/"]))
        entries.append({"file": file(path), "directory": directory(path), "link": link(path, target)}[kind])
    return tuple(entries)


@given(
    source=trees(),
    below=trees(),
    what=st.sampled_from([".", "a", "a/b", "*", "a/*"]),
    to=st.sampled_from(["/", "/a", "/a/", "/a/b", "/c/a/"]),
)
def test_any_copy_is_a_layer_or_a_copy_error(source, below, what, to):
    try:
        found = list(copy(what, to=to, source=source, below=(below,)).values())
    except CopyError:
        return
    merged = view(found, below)
    seen = set()
    for entry in found:
        assert entry.path not in seen and ".." not in entry.path.split("/")
        assert not entry.parent or entry.parent in seen, "a parent comes first"
        assert not entry.parent or merged.lookup(entry.parent).kind is Kind.DIRECTORY
        seen.add(entry.path)


def test_hard_links_are_kept_out_of_a_layer_that_is_only_a_blob():
    layer = [directory("d"), file("d/a"), Entry("d/b", Kind.HARDLINK, link="d/a"), file("d/c")]
    source = MergedView([RecipeView(entry._replace(content=None) for entry in layer)])
    found = {entry.path: source.identity(entry) for entry in source.children("d")}
    assert found["d/a"] == found["d/b"] is not None
    assert found["d/c"] is None
    origin = Origin(source, Choice(("d", "d/c", "d/c")), lambda path: None, keeps_owner=True)
    draft = copied(CopyRequest("/x/"), [origin], view(()))
    kinds = {entry.path: entry.kind for entry in draft.entries() if entry.kind is not Kind.DIRECTORY}
    assert kinds == {"x/a": Kind.FILE, "x/b": Kind.HARDLINK, "x/c": Kind.FILE}


def test_directories_may_lie_deeper_than_pythons_stack():
    deep = "/".join(["d"] * 1500)
    tree = view([directory("d"), file(f"{deep}/kept"), file(f"{deep}/left-out")])
    for choice in (Choice((".",), excludes=("**/left-out",)), Choice(("./d/**/kept",), parents=True)):
        request = CopyRequest("/to/")
        paths = [entry.path for entry in copied(request, [Origin(tree, choice, lambda path: None)], MergedView([])).entries()]
        assert f"to/{deep}/kept" in paths and f"to/{deep}/left-out" not in paths
