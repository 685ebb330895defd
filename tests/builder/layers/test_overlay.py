"""What a stack of layers is: the kernel's overlayfs over extracted layers, and the views of indexes, say the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybuild.builder.layers.changes import changes
from pybuild.builder.layers.compression import Compression
from pybuild.builder.layers.entry import BytesContent, Entry, Kind
from pybuild.builder.layers.extraction import extract, index, materialise
from pybuild.builder.layers.index import MergedView, RecipeView, TreeView, walk
from pybuild.builder.layers.packing import pack
from pybuild.builder.layers.stored import FileIndexes

pytestmark = pytest.mark.root
TIME = 1_600_000_000_000_000_001


def file(path, content=b"x"):
    return Entry(path, Kind.FILE, 0o644, size=len(content), mtime_ns=TIME, content=BytesContent(content))


def directory(path, mode=0o755):
    return Entry(path, Kind.DIRECTORY, mode, mtime_ns=TIME)


@contextlib.contextmanager
def mounted(folder: Path, lower: list[str], upper: str | None = None):
    """The overlay of these directories, topmost first."""
    for name in ("merged", "work", "bottom"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lower = [*lower, str(folder / "bottom")]
    options = f"lowerdir={':'.join(lower)}" + (f",upperdir={upper},workdir={folder / 'work'}" if upper else "")
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder / "merged"], check=True)
    try:
        yield folder / "merged"
    finally:
        subprocess.run(["umount", folder / "merged"], check=True)


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for top, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(top, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                # In a directory of one layer alone, the kernel lists a whiteout of nothing, and finds nothing there.
                continue
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path.relative_to(root))] = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), content)
    return found


FORMS = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}


def viewed(view: MergedView, layers) -> dict[str, tuple[object, ...]]:
    found = {}
    for entry in walk(view, ""):
        content = entry.link if entry.kind is Kind.SYMLINK else b""
        if entry.kind is Kind.FILE:
            content = entry.content
            if not isinstance(content, BytesContent):
                # The last one of this name in its layer.
                content = [e.content for e in layers[content.layer] if e.path == content.path and e.kind is Kind.FILE][-1]
            content = content.content
        found[entry.path] = (FORMS[entry.kind], entry.mode, content)
    return found


def check(layers, folder: Path) -> dict[str, tuple[object, ...]]:
    trees = []
    for number, layer in enumerate(layers):
        trees.append(str(folder / f"tree{number}"))
        materialise(layer, trees[-1])
    with mounted(folder, trees) as merged:
        shown = listing(merged)
    assert viewed(MergedView([RecipeView(layer) for layer in layers]), layers) == shown
    indexes = FileIndexes(sqlite3.connect(":memory:", isolation_level=None))
    for number, layer in enumerate(layers):
        indexes.add(str(number), [entry._replace(content=None) for entry in layer])
    assert viewed(MergedView([indexes.view(str(number)) for number in range(len(layers))]), layers) == shown
    return shown


LOWER = (directory("x"), file("x/old"), directory("x/sub"), file("x/sub/old"), file("y"))


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ((Entry("x", Kind.WHITEOUT),), {"y"}),
        ((directory("x"), Entry("x", Kind.OPAQUE), file("x/new")), {"x", "x/new", "y"}),
        ((Entry("x", Kind.OPAQUE), file("x/new")), {"x", "x/new", "y"}),
        ((Entry("x", Kind.WHITEOUT), directory("x"), file("x/new")), {"x", "x/new", "y"}),
        ((directory("x"), file("x/new"), Entry("x", Kind.WHITEOUT)), {"x", "x/new", "y"}),
        ((Entry("x", Kind.WHITEOUT), file("x/new")), {"x", "x/new", "y"}),
        ((file("x/new"), Entry("x", Kind.WHITEOUT)), {"x", "x/new", "y"}),
        ((Entry("y", Kind.WHITEOUT), file("y", b"new")), {"x", "x/old", "x/sub", "x/sub/old", "y"}),
        ((file("y", b"new"), Entry("y", Kind.WHITEOUT)), {"x", "x/old", "x/sub", "x/sub/old", "y"}),
        ((file("x"),), {"x", "y"}),
        ((directory("y"), file("y/new")), {"x", "x/old", "x/sub", "x/sub/old", "y", "y/new"}),
        ((Entry("x/sub", Kind.WHITEOUT), Entry("x/sub", Kind.WHITEOUT)), {"x", "x/old", "y"}),
    ],
)
def test_deletions(tmp_path, upper, expected):
    shown = check((upper, LOWER), tmp_path)
    assert shown.keys() == expected
    if shown["y"][0] == stat.S_IFREG and any(entry.path == "y" for entry in upper):
        assert shown["y"][2] == b"new"


NAMES = st.sampled_from(["a", "b"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@st.composite
def layers(draw):
    """A layer as other tools write them: each path once, or a second time as a whiteout or an opaque mark."""
    found = []
    kinds: dict[str, Kind] = {}
    for path in draw(st.lists(PATHS, max_size=6)):
        above = [path.rsplit("/", cut)[0] for cut in range(1, path.count("/") + 1)]
        if any(kinds.get(parent, Kind.DIRECTORY) is not Kind.DIRECTORY for parent in above):
            continue
        kind = draw(st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.WHITEOUT, Kind.OPAQUE]))
        if kinds.get(path, kind) is not kind and kind is not Kind.WHITEOUT:
            continue
        if kind is Kind.OPAQUE and kinds.get(path, Kind.DIRECTORY) is not Kind.DIRECTORY:
            continue
        if kind is not Kind.WHITEOUT:
            if any(other.startswith(f"{path}/") for other in kinds) and kind not in (Kind.DIRECTORY, Kind.OPAQUE):
                continue
            kinds[path] = Kind.DIRECTORY if kind is Kind.OPAQUE else kind
            for parent in above:
                kinds[parent] = Kind.DIRECTORY
        content = draw(st.binary(max_size=3)) if kind is Kind.FILE else b""
        found.append({Kind.FILE: file(path, content), Kind.DIRECTORY: directory(path)}.get(kind, Entry(path, kind)))
        if kind is Kind.SYMLINK:
            found[-1] = Entry(path, kind, 0o777, mtime_ns=TIME, link=draw(st.sampled_from(["a", "/b", ".."])))
    return tuple(found)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stack=st.lists(layers(), min_size=1, max_size=3))
def test_any_stack_is_what_the_kernel_shows(tmp_path, stack):
    folder = tmp_path / "case"
    try:
        check(stack, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


EDITS = st.lists(
    st.tuples(st.sampled_from(["write", "append-nothing", "remove", "mkdir", "link", "rename", "chmod"]), PATHS, PATHS),
    max_size=8,
)


def edit(root: Path, what: str, one: str, other: str) -> None:
    path, second = root / one, root / other
    # Links lead where the process's root has them, not the image's: what is outside is not for a test to touch.
    if not all(Path(os.path.realpath(place)).is_relative_to(root) for place in (path, second)):
        return
    with contextlib.suppress(OSError):
        match what:
            case "write":
                path.write_bytes(other.encode())
            case "append-nothing":
                path.open("ab").close()
            case "remove":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            case "mkdir":
                path.mkdir()
            case "link":
                os.link(path, second, follow_symlinks=False)
            case "rename":
                path.rename(second)
            case "chmod":
                path.chmod(0o700 if path.is_dir() else 0o600)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=layers(), edits=EDITS)
def test_a_layer_of_changes_makes_what_was_there(store, tmp_path, base, edits):
    """Whatever a RUN does over a layer: packed, extracted and mounted again, it shows the same."""
    folder = tmp_path / "case"
    try:
        lower, upper = folder / "lower", folder / "upper"
        materialise(base, str(lower))
        upper.mkdir()
        (folder / "one").mkdir()
        with mounted(folder / "one", [str(lower)], str(upper)) as merged:
            for step in edits:
                edit(merged, *step)
            expected = listing(merged)
        entries = changes(str(upper), MergedView([TreeView(str(lower))]))
        packed = pack(entries, store, Compression.parse("none"))
        extract(packed.descriptor, store, packed.diff_id, str(folder / "again"))
        with mounted(folder / "two", [str(folder / "again"), str(lower)]) as merged:
            assert listing(merged) == expected
        assert viewed_from_index(packed, store, base, entries) == set(expected)
        # What only was opened is no change.
        assert len({entry.path for entry in entries if entry.kind is not Kind.OPAQUE}) == sum(
            entry.kind is not Kind.OPAQUE for entry in entries
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def viewed_from_index(packed, store, base, entries):
    view = MergedView([RecipeView(index(packed.descriptor, store, packed.diff_id)), RecipeView(base)])
    return {entry.path for entry in walk(view, "")}


def test_a_file_that_was_only_opened_is_no_change(tmp_path):
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    materialise((directory("d"), file("d/same", b"content"), file("d/other", b"content")), str(lower))
    upper.mkdir()
    (tmp_path / "m").mkdir()
    with mounted(tmp_path / "m", [str(lower)], str(upper)) as merged:
        (merged / "d/same").open("ab").close()
        (merged / "d/other").open("ab").close()
    assert (upper / "d/same").exists()
    assert changes(str(upper), MergedView([TreeView(str(lower))])) == ()
