"""A layer as a directory: everything kept, nothing outside, and back to the same layer again."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile

import pytest

from pybuild.builder.errors import BuildError, LayerError
from pybuild.builder.layers.changes import changes
from pybuild.builder.layers.compression import Compression
from pybuild.builder.layers.entry import BytesContent, Entry, Kind
from pybuild.builder.layers.extraction import extract, index, materialise
from pybuild.builder.layers.index import MergedView, RecipeView, TreeView, kept_xattrs
from pybuild.builder.layers.packing import pack
from pybuild.registry import Descriptor, Digest, media
from pybuild.registry.errors import DigestMismatch

pytestmark = pytest.mark.root
TIME = 1_600_000_000_123_456_789


def file(path, content=b"x", **values):
    return Entry(path, Kind.FILE, 0o644, size=len(content), mtime_ns=TIME, content=BytesContent(content))._replace(**values)


def directory(path, **values):
    return Entry(path, Kind.DIRECTORY, 0o755, mtime_ns=TIME)._replace(**values)


ENTRIES = (
    directory("d", mode=0o1777, uid=5, gid=6),
    file("d/set", mode=0o6755, uid=1000, gid=1000),
    file("d/cap", xattrs=(("security.capability", bytes.fromhex("0100000200200000000000000000000000000000")), ("user.x", b"y"))),
    Entry("d/hard", Kind.HARDLINK, link="d/set"),
    Entry("d/link", Kind.SYMLINK, 0o777, 7, 8, mtime_ns=TIME, link="/etc/passwd"),
    Entry("d/null", Kind.CHARACTER, 0o666, mtime_ns=TIME, device=(1, 3)),
    Entry("d/pipe", Kind.FIFO, 0o600, mtime_ns=TIME),
    directory("opaque"),
    Entry("opaque", Kind.OPAQUE),
    file("opaque/new"),
    Entry("white", Kind.WHITEOUT),
    file(os.fsdecode(b"\xff"), b"not utf-8"),
)


def packed(store, entries):
    found = pack(entries, store, Compression.parse("gzip"))
    return found.descriptor, found.diff_id


def test_extract_keeps_everything(store, tmp_path):
    blob, diff_id = packed(store, ENTRIES)
    root = tmp_path / "tree"
    extract(blob, store, diff_id, str(root))
    status = (root / "d/set").lstat()
    assert (oct(status.st_mode), status.st_uid, status.st_mtime_ns, status.st_nlink) == ("0o106755", 1000, TIME, 2)
    assert (root / "d").stat().st_mtime_ns == TIME
    assert oct((root / "d").stat().st_mode) == "0o41777"
    assert os.getxattr(root / "d/cap", "security.capability").hex().startswith("01000002")
    assert (root / "d/link").lstat().st_uid == 7
    assert os.readlink(root / "d/link") == "/etc/passwd"
    assert stat.S_ISCHR((root / "white").lstat().st_mode) and (root / "white").lstat().st_rdev == 0
    assert os.getxattr(root / "opaque", "trusted.overlay.opaque") == b"y"
    assert os.fsencode(root) + b"/\xff" in [os.path.join(os.fsencode(root), name) for name in os.listdir(os.fsencode(root))]


def test_materialise_makes_the_same_directory_as_extract(store, tmp_path):
    blob, diff_id = packed(store, ENTRIES)
    extract(blob, store, diff_id, str(tmp_path / "one"))
    materialise(ENTRIES, str(tmp_path / "two"))
    assert described(tmp_path / "one") == described(tmp_path / "two")


def described(root):
    found = {}
    for top, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(top, name)
            status = os.lstat(path)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                # A whiteout has nothing but its name.
                found[os.path.relpath(path, root)] = None
                continue
            xattrs = {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
            found[os.path.relpath(path, root)] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_rdev,
                xattrs,
            )
    return found


def test_index_sees_what_was_packed(store):
    blob, diff_id = packed(store, ENTRIES)
    assert index(blob, store, diff_id) == tuple(entry._replace(content=None) for entry in ENTRIES)


@pytest.mark.damaged
def test_a_damaged_blob_and_a_wrong_diff_id_are_found(store, tmp_path):
    blob, diff_id = packed(store, ENTRIES)
    with pytest.raises(DigestMismatch):
        index(blob, store, Digest.of(b"other"))
    with open(store.path(blob.digest), "r+b") as out:
        out.seek(blob.size - 6)
        out.write(b"\0\0")
    with pytest.raises((DigestMismatch, LayerError)):
        extract(blob, store, diff_id, str(tmp_path / "tree"))


HOSTILE = {
    "a link out of the root": [("link", tarfile.SYMTYPE, "/"), ("link/evil", tarfile.REGTYPE, "")],
    "a relative link out": [("link", tarfile.SYMTYPE, "../.."), ("link/evil", tarfile.REGTYPE, "")],
    "a chain of links": [("a", tarfile.SYMTYPE, ".."), ("b", tarfile.SYMTYPE, "a/.."), ("b/evil", tarfile.REGTYPE, "")],
    "a hard link to the host": [("hard", tarfile.LNKTYPE, "/etc/passwd")],
    "a hard link through a link": [("link", tarfile.SYMTYPE, "/etc"), ("hard", tarfile.LNKTYPE, "link/passwd")],
    "a file in place of a directory": [
        ("d", tarfile.DIRTYPE, ""),
        ("d/x", tarfile.REGTYPE, ""),
        ("d", tarfile.SYMTYPE, "/"),
        ("d/evil", tarfile.REGTYPE, ""),
    ],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_written_outside_of_the_root(store, tmp_path, name):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for path, kind, link in HOSTILE[name]:
            member = tarfile.TarInfo(path)
            member.type, member.linkname, member.mode = kind, link, 0o755
            archive.addfile(member)
    with store.writer() as writer:
        writer.write(raw.getvalue())
        digest = Digest.of(raw.getvalue())
        writer.commit(digest)
    blob = Descriptor(media.OCI_LAYER, digest, len(raw.getvalue()))
    outer = tmp_path / "outer"
    outer.mkdir()
    before = set(os.listdir("/"))
    links = os.stat("/etc/passwd").st_nlink
    try:
        extract(blob, store, digest, str(outer / "tree"))
    except BuildError:
        pass
    assert set(os.listdir("/")) == before
    assert os.listdir(outer) == ["tree"] and not (tmp_path / "evil").exists()
    assert os.stat("/etc/passwd").st_nlink == links


def view(entries):
    return MergedView([RecipeView(entries)])


def test_changes_of_an_extracted_layer_are_the_layer(store, tmp_path):
    below = view([directory("opaque"), file("opaque/old"), file("white")])
    materialise(ENTRIES, str(tmp_path / "tree"))
    found = changes(str(tmp_path / "tree"), below)
    expected = sorted(ENTRIES, key=lambda entry: (entry.path.replace("/", "\0"), entry.kind))
    # Of two names of one file the first by name is the file.
    names = [(entry.path, entry.kind) for entry in found]
    assert sorted(names) == sorted(
        (entry.path, {"d/hard": Kind.FILE, "d/set": Kind.HARDLINK}.get(entry.path, entry.kind)) for entry in expected
    )


def test_a_copy_up_that_changed_nothing_is_no_change(tmp_path):
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    entries = (directory("d"), file("d/same", b"content"), file("d/other", b"content"))
    materialise(entries, str(lower))
    materialise(entries, str(upper))
    (upper / "d/other").write_bytes(b"CONTENT")
    os.utime(upper / "d/other", ns=(TIME, TIME))
    found = changes(str(upper), MergedView([TreeView(str(lower))]))
    assert [entry.path for entry in found] == ["d", "d/other"]
    (upper / "d/other").write_bytes(b"content")
    os.utime(upper / "d/other", ns=(TIME, TIME))
    os.utime(upper / "d", ns=(TIME, TIME))
    assert changes(str(upper), MergedView([TreeView(str(lower))])) == ()


def test_a_whiteout_of_nothing_is_no_change(tmp_path):
    materialise((Entry("never-there", Kind.WHITEOUT),), str(tmp_path / "upper"))
    assert changes(str(tmp_path / "upper"), view([])) == ()


@pytest.mark.peers("umoci")
def test_umoci_unpacks_the_same_tree(store, tmp_path):
    entries = tuple(entry for entry in ENTRIES if entry.kind not in (Kind.WHITEOUT, Kind.OPAQUE))
    blob, diff_id = packed(store, entries)
    from pybuild.registry import ImageConfig, Manifest, Platform, Reference

    config = store.add(ImageConfig(Platform("linux", "amd64"), diff_ids=(diff_id,)).encode(), media.OCI_CONFIG)
    manifest = Manifest.build(config, (blob,))
    store.tag(store.add(manifest.raw, manifest.media_type), Reference.parse("x"))
    bundle = tmp_path / "bundle"
    command = ["umoci", "unpack", "--image", f"{store.root}:docker.io/library/x:latest", str(bundle)]
    subprocess.run(command, check=True, capture_output=True)
    extract(blob, store, diff_id, str(tmp_path / "tree"))
    assert described(bundle / "rootfs") == described(tmp_path / "tree")


def test_hard_links_between_many_directories(tmp_path):
    """More directories than are kept open: a descriptor that is in use must not be closed for another."""
    count = 200
    entries = [directory(f"d{n}") for n in range(count)]
    entries += [file(f"d{n}/f", str(n).encode()) for n in range(count)]
    entries += [Entry(f"d{n}/hard", Kind.HARDLINK, link=f"d{(n * 67 + 65) % count}/f") for n in range(count)]
    materialise(entries, str(tmp_path / "tree"))
    for n in range(count):
        assert (tmp_path / f"tree/d{n}/hard").read_text() == str((n * 67 + 65) % count)


def test_a_path_with_more_parts_than_python_has_frames(store, tmp_path):
    path = "/".join(["d"] * 1500)
    blob, diff_id = packed(store, [file(f"{path}/f", b"deep")])
    assert RecipeView(index(blob, store, diff_id)).get(f"{path}/f").size == 4
    try:
        extract(blob, store, diff_id, str(tmp_path / "tree"))
    except BuildError as error:
        assert "Too many open files" in str(error)
    # Deeper than Python's rmtree, and pytest's with it, can go.
    subprocess.run(["rm", "-rf", tmp_path / "tree"], check=True)


def test_a_directory_with_more_in_it_than_python_has_frames_is_replaced(tmp_path):
    top = tmp_path / "tree"
    top.mkdir()
    # Piece by piece: the whole has more parts than may be open, or be a path's.
    place = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    materialise([file("d", b"now a file")], str(top))
    assert os.listdir(top) == ["d"] and (top / "d").read_bytes() == b"now a file"


def test_attributes_that_are_overlay_s_own_are_none_of_a_file_s(tmp_path):
    for name in ("user.overlay.opaque", "user.overlay.pybuild.whiteout", "user.mine"):
        os.setxattr(tmp_path, name, b"y")
    assert kept_xattrs(str(tmp_path)) == (("user.mine", b"y"),)


@pytest.mark.slow
@pytest.mark.peers("tar")
def test_a_sparse_file_beyond_8_gib_of_gnu_tar_is_sparse_again(store, tmp_path):
    size = (8 << 30) + 12345
    with open(tmp_path / "f", "wb") as out:
        out.write(b"begin")
        out.seek(size - 3)
        out.write(b"end")
    raw = subprocess.run(["tar", "-cSf", "-", "--format=pax", "-C", tmp_path, "f"], check=True, capture_output=True).stdout
    digest = Digest.of(raw)
    with store.writer() as writer:
        writer.write(raw)
        writer.commit(digest)
    extract(Descriptor(media.OCI_LAYER, digest, len(raw)), store, digest, str(tmp_path / "out"))
    status = (tmp_path / "out" / "f").stat()
    assert (status.st_size, status.st_blocks * 512 < 8 << 20) == (size, True)
    with open(tmp_path / "out" / "f", "rb") as found:
        assert found.read(5) == b"begin"
        found.seek(size - 3)
        assert found.read() == b"end"


def test_directories_that_are_only_implied_are_as_below(store, tmp_path):
    blob, diff_id = packed(store, [file("a/b/f"), file("hidden/x/f"), Entry("hidden", Kind.OPAQUE), file("new/f")])
    below = view(
        [directory("a", mode=0o1777, uid=7), directory("a/b", mode=0o700), directory("hidden"), directory("hidden/x", mode=0o711)]
    )
    extract(blob, store, diff_id, str(tmp_path / "tree"), below=below.lookup)
    found = {path: (tmp_path / "tree" / path).stat() for path in ("a", "a/b", "hidden/x", "new")}
    assert {path: oct(status.st_mode & 0o7777) for path, status in found.items()} == {
        "a": "0o1777",
        "a/b": "0o700",
        "hidden/x": "0o755",
        "new": "0o755",
    }
    assert (found["a"].st_uid, found["a"].st_mtime_ns) == (7, TIME)


def test_a_directory_in_the_place_of_a_whiteout_hides_what_was_below(tmp_path):
    materialise((Entry("gone", Kind.WHITEOUT), directory("gone")), str(tmp_path / "tree"))
    assert os.getxattr(tmp_path / "tree/gone", "trusted.overlay.opaque") == b"y"


def test_everybody_gets_into_a_root_of_which_no_layer_says_anything(tmp_path):
    before = os.umask(0o077)
    try:
        materialise((file("f"),), str(tmp_path / "tree"))
    finally:
        os.umask(before)
    assert oct((tmp_path / "tree").stat().st_mode) == "0o40755"
