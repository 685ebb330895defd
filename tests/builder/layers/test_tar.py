"""Headers that every tar reads, and a reader that takes what every tar writes."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.entry import BytesContent, Entry, Kind
from pybuild.builder.layers.packing import write
from pybuild.builder.layers.tar import END, header
from pybuild.builder.layers.untar import read

SECOND = 10**9


def packed(*entries: Entry) -> bytes:
    out = io.BytesIO()
    write(entries, out)
    return out.getvalue()


def file(path: str, content: bytes = b"", **values: object) -> Entry:
    return Entry(path, Kind.FILE, 0o644, size=len(content), content=BytesContent(content))._replace(**values)


def unpacked(content: bytes, **options: bool) -> list[tuple[Entry, bytes]]:
    found = []
    for entry, stream in read(io.BytesIO(content), **options):
        parts = []
        while part := stream.read(1 << 16):
            parts.append(part)
        found.append((entry, b"".join(parts)))
    return found


HARD = [
    file("plain", b"content", mtime_ns=1_700_000_000 * SECOND),
    file("mtime", mtime_ns=1_700_000_000 * SECOND + 123_456_789),
    file("before-1970", mtime_ns=-5 * SECOND),
    file("before-1970-and-a-part", mtime_ns=-5 * SECOND + 250_000_000),
    file("owner", uid=4_000_000, gid=2**31),
    file("set", mode=0o6755),
    file("a" * 100, b"x"),
    file("a" * 101, b"x"),
    file("d" * 120 + "/" + "f" * 99, b"x"),
    file("/".join(["e" * 90] * 3) + "/" + "n" * 200, b"x"),
    file("ünïcödé", b"x"),
    file(os.fsdecode(b"not-\xff-utf8"), b"x"),
    file("xattr", b"x", xattrs=(("security.capability", b"\x01\x00\x00\x02"), ("user.x", b"a=b\nc"))),
    Entry("d", Kind.DIRECTORY, 0o1777, 1, 2),
    Entry("link", Kind.SYMLINK, 0o777, link="t" * 200),
    Entry("link2", Kind.SYMLINK, 0o777, link="../ü"),
    Entry("hard", Kind.HARDLINK, 0o644, link="plain"),
    Entry("tty", Kind.CHARACTER, 0o620, device=(5, 1)),
    Entry("disk", Kind.BLOCK, 0o660, device=(259, 70000)),
    Entry("pipe", Kind.FIFO, 0o600),
    Entry("gone", Kind.WHITEOUT),
    Entry("d/gone", Kind.WHITEOUT),
    Entry("d", Kind.OPAQUE),
]


@pytest.mark.parametrize("entry", HARD, ids=lambda entry: f"{entry.kind.name}-{entry.path[:20]!r}")
def test_what_is_written_is_read_back(entry):
    ((found, content),) = unpacked(packed(entry))
    expected = entry.content.content if entry.kind is Kind.FILE else b""
    assert found == entry._replace(content=None)
    assert content == expected


def test_python_s_tarfile_reads_the_same():
    entries = [entry for entry in HARD if entry.kind not in (Kind.WHITEOUT, Kind.OPAQUE)]
    with tarfile.open(fileobj=io.BytesIO(packed(*entries))) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [entry.path for entry in entries]
        for member, entry in zip(members, entries, strict=True):
            assert (member.mode, member.uid, member.gid) == (entry.mode, entry.uid, entry.gid)
            assert abs(member.mtime - entry.mtime_ns / SECOND) < 1e-6
            assert member.linkname == entry.link
            if entry.kind is Kind.FILE:
                assert archive.extractfile(member).read() == entry.content.content
            if entry.device != (0, 0):
                assert (member.devmajor, member.devminor) == entry.device


def test_gnu_tar_lists_and_extracts_the_same(tmp_path):
    entries = [entry for entry in HARD if entry.kind in (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK) and "e" * 90 not in entry.path]
    (tmp_path / "a.tar").write_bytes(packed(*entries))
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "xf", "../a.tar", "--warning=no-timestamp"], cwd=out, check=True)
    for entry in entries:
        path = os.path.join(os.fsencode(out), os.fsencode(entry.path))
        assert os.path.lexists(path)
        if entry.kind is Kind.FILE:
            assert open(path, "rb").read() == entry.content.content
            assert os.stat(path).st_mtime_ns == entry.mtime_ns


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "oldgnu", "v7"])
def test_what_gnu_tar_writes_is_read(tmp_path, form):
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "file").write_bytes(b"content" * 1000)
    (tree / "link").symlink_to("d/file")
    os.link(tree / "d" / "file", tree / "hard")
    if form in ("gnu", "pax", "oldgnu"):
        (tree / ("n" * 180)).write_text("long")
    archive = subprocess.run(["tar", "cf", "-", f"--format={form}", "."], cwd=tree, check=True, capture_output=True).stdout
    found = {entry.path: (entry, content) for entry, content in unpacked(archive)}
    assert found["link"][0].link == "d/file"
    contents = [content for entry, content in found.values() if entry.path in ("d/file", "hard") and entry.kind is Kind.FILE]
    assert contents == [b"content" * 1000]
    assert found["d"][0].kind is Kind.DIRECTORY
    if form in ("gnu", "pax", "oldgnu"):
        assert found["n" * 180][1] == b"long"


@pytest.mark.parametrize("version", ["oldgnu", "0.0", "0.1", "1.0"])
def test_sparse_files_are_read(tmp_path, version):
    path = tmp_path / "sparse"
    with open(path, "wb") as out:
        for offset in range(0, 60 << 20, 7 << 20):
            out.seek(offset)
            out.write(b"part" * 1024)
        out.truncate(64 << 20)
    form = ["--format=oldgnu"] if version == "oldgnu" else ["--format=pax", f"--sparse-version={version}"]
    archive = subprocess.run(["tar", "cSf", "-", *form, "sparse", "sparse"], cwd=tmp_path, check=True, capture_output=True).stdout
    assert len(archive) < 4 << 20
    if version == "0.0":
        # Its map is in repeated records, which pax cannot tell apart from one that was replaced.
        with pytest.raises(LayerError, match="sparse"):
            unpacked(archive)
        return
    entry, content = unpacked(archive)[0]
    assert (entry.path, entry.size) == ("sparse", 64 << 20)
    assert content == path.read_bytes()


def test_a_size_above_8_gib_is_kept():
    entry = Entry("big", Kind.FILE, 0o644, size=9 << 30)
    found, _ = next(iter(read(io.BytesIO(header(entry) + END))))
    assert found.size == 9 << 30


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x", ".."])
def test_names_that_leave_the_root_are_refused(name):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(LayerError, match="leaves the archive's root"):
        unpacked(raw.getvalue())


def test_absolute_names_are_meant_from_the_root():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("/etc//./passwd"))
    assert unpacked(raw.getvalue())[0][0].path == "etc/passwd"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:700],
        lambda content: content[:100] + b"\x01" + content[101:],
        lambda content: b"no tar at all" * 100,
        lambda content: content[:512],
    ],
)
def test_damaged_archives_are_errors(damage):
    with pytest.raises(LayerError):
        unpacked(damage(packed(file("a", b"x" * 1000))))


def test_whiteouts_in_an_archive_of_add_are_files():
    entry, _ = unpacked(packed(Entry("gone", Kind.WHITEOUT)), whiteouts=False)[0]
    assert (entry.path, entry.kind) == (".wh.gone", Kind.FILE)


NAMES = st.binary(min_size=1, max_size=300).map(lambda raw: os.fsdecode(raw.replace(b"/", b"_").replace(b"\0", b"0")))
PATHS = st.lists(NAMES.filter(lambda name: name not in (".", "..") and not name.startswith(".wh.")), min_size=1, max_size=4)


@given(
    path=PATHS.map("/".join),
    content=st.binary(max_size=2000),
    mode=st.integers(0, 0o7777),
    ids=st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2)),
    mtime=st.integers(-(2**40), 2**62),
    value=st.binary(max_size=100),
)
def test_any_file_comes_back(path, content, mode, ids, mtime, value):
    entry = file(path, content, mode=mode, uid=ids[0], gid=ids[1], mtime_ns=mtime, xattrs=(("user.v", value),))
    assert unpacked(packed(entry)) == [(entry._replace(content=None), content)]


@given(st.binary(max_size=3000))
def test_any_bytes_are_entries_or_a_layer_error(content):
    try:
        unpacked(content)
    except LayerError:
        pass
