"""Layers that are the same bytes whoever packs them, with digests that others compute too."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import threading
import time

import pytest

from pybuild.builder.errors import BuildError, ContextError, PlanError
from pybuild.builder.layers.changes import changes
from pybuild.builder.layers.compression import Compression
from pybuild.builder.layers.entry import BytesContent, DiskContent, Entry, Kind, SpoolContent
from pybuild.builder.layers.index import MergedView
from pybuild.builder.layers.packing import pack


@pytest.fixture
def entries(tmp_path):
    found = [Entry("d", Kind.DIRECTORY, 0o755)]
    for number, size in enumerate((0, 1, 511, 512, 513, (1 << 20) - 512, 1 << 20, (1 << 20) + 1, 5 << 20)):
        path = tmp_path / f"f{number}"
        path.write_bytes(os.urandom(size // 2) + b"z" * (size - size // 2))
        found.append(Entry(f"d/f{number}", Kind.FILE, 0o644, size=size, content=DiskContent(str(path))))
    found.append(Entry("memory", Kind.FILE, 0o600, size=5, content=BytesContent(b"bytes")))
    return found


@pytest.mark.parametrize("text", ["gzip", "gzip:2", "gzip:6", "zstd", "zstd:1", "none"])
def test_digests_are_those_of_the_bytes(store, entries, text):
    packed = pack(entries, store, Compression.parse(text))
    blob = open(store.path(packed.descriptor.digest), "rb").read()
    assert packed.descriptor.digest.hex == hashlib.sha256(blob).hexdigest()
    assert packed.descriptor.size == len(blob)
    if text.startswith("zstd"):
        # As another program has it.
        import zstandard

        tar = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(blob)).read()
    else:
        tar = gzip.decompress(blob) if text.startswith("gzip") else blob
    assert packed.diff_id.hex == hashlib.sha256(tar).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for entry in entries[1:-1]:
            assert archive.extractfile(entry.path).read() == open(entry.content.path, "rb").read()


def test_gunzip_reads_it(store, entries):
    packed = pack(entries, store, Compression.parse("gzip"))
    path = store.path(packed.descriptor.digest)
    tar = subprocess.run(["gzip", "-dc"], stdin=open(path, "rb"), capture_output=True, check=True).stdout
    assert packed.diff_id.hex == hashlib.sha256(tar).hexdigest()


@pytest.mark.parametrize("text", ["gzip", "zstd"])
def test_the_same_entries_are_the_same_bytes(store, entries, text):
    assert pack(entries, store, Compression.parse(text)) == pack(list(entries), store, Compression.parse(text))


def test_content_out_of_a_spool(store, tmp_path):
    path = tmp_path / "spool"
    path.write_bytes(b"xxcontentxx")
    with open(path, "rb") as spool:
        packed = pack([Entry("a", Kind.FILE, size=7, content=SpoolContent(spool.fileno(), 2))], store, Compression.parse("none"))
    with tarfile.open(store.path(packed.descriptor.digest)) as archive:
        assert archive.extractfile("a").read() == b"content"


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_file_that_shrinks_is_an_error_and_leaves_nothing(store, tmp_path, size):
    path = tmp_path / "f"
    path.write_bytes(b"x" * (size - 1))
    entry = Entry("f", Kind.FILE, size=size, content=DiskContent(str(path)))
    with pytest.raises(ContextError, match="changed its size"):
        pack([entry], store, Compression.parse("gzip"))
    assert not store.blobs() and not os.listdir(f"{store.root}/tmp")


def test_a_file_that_is_gone_is_an_error(store, tmp_path):
    with pytest.raises(ContextError, match="No such file"):
        pack([Entry("f", Kind.FILE, size=1, content=DiskContent(str(tmp_path / "f")))], store, Compression.parse("gzip"))


def test_an_interrupted_pack_leaves_nothing(store, entries):
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(entries, store, Compression.parse("gzip"), on_bytes=interrupt)
    assert not store.blobs() and not os.listdir(f"{store.root}/tmp")


def test_a_full_disk_is_an_error_that_says_so(store, entries, monkeypatch):
    class Full:
        def __init__(self, writer):
            self._writer = writer

        def __getattr__(self, name):
            return getattr(self._writer, name)

        def __enter__(self):
            self._writer.__enter__()
            return self

        def __exit__(self, *error):
            self._writer.__exit__(*error)

        def write(self, content):
            raise OSError(28, "No space left on device")

    writer = store.writer
    monkeypatch.setattr(type(store), "writer", lambda self: Full(writer()))
    with pytest.raises(BuildError, match="No space left on device"):
        pack(entries, store, Compression.parse("gzip"))
    assert not os.listdir(f"{store.root}/tmp")


@pytest.mark.parametrize("text", ["lzma", "gzip:0", "gzip:x", "gzip:", "zstd:99", "none:1"])
def test_compressions_that_are_none(text):
    with pytest.raises(PlanError):
        Compression.parse(text)


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_file_that_grows_is_an_error_and_leaves_nothing(store, tmp_path, size):
    path = tmp_path / "f"
    path.write_bytes(b"x" * (size + 1))
    entry = Entry("f", Kind.FILE, size=size, content=DiskContent(str(path)))
    with pytest.raises(ContextError, match="changed its size"):
        pack([entry], store, Compression.parse("gzip"))
    assert not store.blobs() and not os.listdir(f"{store.root}/tmp")


class Broken:
    """A compression whose compressor fails at one of its blocks."""

    name = "gzip"

    def __init__(self, block: int) -> None:
        self._left = block

    def compressor(self):
        return self

    def compress(self, content):
        self._left -= 1
        if self._left < 0:
            raise MemoryError("no more")
        return b""

    def flush(self):
        return b""


@pytest.mark.parametrize("block", [0, 1, 9])
def test_a_compressor_that_fails_stops_everything(store, tmp_path, block):
    path = tmp_path / "f"
    path.write_bytes(bytes(30 << 20))
    entry = Entry("f", Kind.FILE, size=30 << 20, content=DiskContent(str(path)))
    # A server of another test's may have threads of its own.
    before = threading.active_count()
    with pytest.raises(MemoryError):
        pack([entry], store, Broken(block))
    assert not os.listdir(f"{store.root}/tmp")
    assert threading.active_count() == before


def test_who_follows_a_blob_sees_it_grow(store, tmp_path):
    (tmp_path / "f").write_bytes(os.urandom(15 << 20))
    seen, got = [], []

    def grown(path, size):
        seen.append(size)
        with open(path, "rb") as file:
            got.append(file.read(size))

    entry = Entry("f", Kind.FILE, 0o644, size=15 << 20, content=DiskContent(str(tmp_path / "f")))
    packed = pack([entry], store, Compression.parse("gzip"), on_growth=grown)
    whole = open(store.path(packed.descriptor.digest), "rb").read()
    assert len(seen) == 3 and all(whole.startswith(part) and len(part) == size for part, size in zip(got, seen, strict=True))


@pytest.mark.peers("tar")
def test_gnu_tar_finds_no_difference(store, tmp_path):
    """Every kind of entry of a real folder, as GNU tar compares it with the disk."""
    tree = tmp_path / "tree"
    (tree / "sub" / ("n" * 200)).mkdir(parents=True)
    (tree / "sub" / "f").write_bytes(b"x" * 3000)
    (tree / "sub" / "f").chmod(0o4711)
    os.link(tree / "sub" / "f", tree / "sub" / "hard")
    (tree / ("n" * 120)).write_text("long")
    (tree / "ünï").write_text("u")
    (tree / "link").symlink_to("sub/" + "t" * 150)
    os.mkfifo(tree / "pipe")
    with open(tree / "sparse", "wb") as out:
        out.seek(5 << 20)
        out.write(b"end")
    os.utime(tree / "sub" / "f", ns=(1, 1_500_000_000_987_654_321))
    found = changes(str(tree), MergedView([]))
    packed = pack(found, store, Compression.parse("none"))
    blob = store.path(packed.descriptor.digest)
    done = subprocess.run(["tar", "--compare", "--file", blob, "-C", tree], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("is_large", [True, False])
def test_threads_end_with_the_layer(store, entries, is_large):
    # Also those of the compressor, which Python does not see: a fork would be without them, and wait for them.
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/task"))
        pack(entries if is_large else entries[:3], store, Compression.parse("zstd"))
        # The kernel takes a moment for one that has been joined.
        end = time.monotonic() + 10
        while len(os.listdir("/proc/self/task")) != before:
            assert time.monotonic() < end
    finally:
        gc.enable()
