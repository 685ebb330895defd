"""Contents out of blobs, and archives that ADD unpacks."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest

from pybuild.builder.errors import ContextError, LayerError
from pybuild.builder.layers.compression import Compression
from pybuild.builder.layers.contents import Spool, fetch
from pybuild.builder.layers.entry import BytesContent, Entry, Kind, LayerContent, SpoolContent
from pybuild.builder.layers.packing import pack
from pybuild.builder.layers.unpacking import Archives


def file(path, content=b"x"):
    return Entry(path, Kind.FILE, 0o644, size=len(content), content=BytesContent(content))


def content_of(entry):
    assert isinstance(entry.content, SpoolContent)
    return os.pread(entry.content.descriptor, entry.size, entry.content.offset)


def test_contents_come_out_of_their_layers(store):
    layers = [(file("a", b"top"), Entry("b", Kind.WHITEOUT)), (file("a", b"below"), file("b", b"B" * 3_000_000))]
    stack = [
        (packed.descriptor, packed.diff_id) for packed in (pack(layer, store, Compression.parse("zstd")) for layer in layers)
    ]
    wanted = [
        Entry("x", Kind.FILE, size=3, content=LayerContent(0, "a")),
        Entry("y", Kind.FILE, size=5, content=LayerContent(1, "a")),
        Entry("z", Kind.FILE, size=3_000_000, content=LayerContent(1, "b")),
        Entry("d", Kind.DIRECTORY),
        file("own"),
    ]
    with fetch(wanted, stack, store) as found:
        assert [content_of(entry) for entry in found[:3]] == [b"top", b"below", b"B" * 3_000_000]
        assert found[3:] == tuple(wanted[3:])
    assert not os.listdir(f"{store.root}/tmp")


@pytest.mark.parametrize("layer", [(Entry("a", Kind.WHITEOUT), file("a", b"A")), (file("a", b"A"), Entry("a", Kind.WHITEOUT))])
def test_a_whiteout_of_the_same_name_is_not_the_file(store, layer):
    packed = pack(layer, store, Compression.parse("none"))
    wanted = [Entry("a", Kind.FILE, size=1, content=LayerContent(0, "a"))]
    with fetch(wanted, [(packed.descriptor, packed.diff_id)], store) as found:
        assert content_of(found[0]) == b"A"


def test_what_is_not_in_its_layer_is_an_error(store):
    packed = pack([file("a")], store, Compression.parse("gzip"))
    with pytest.raises(LayerError, match="not in its layer"):
        with fetch([Entry("b", Kind.FILE, content=LayerContent(0, "b"))], [(packed.descriptor, packed.diff_id)], store):
            pass


def test_holes_take_no_space(store):
    with Spool(store) as spool:
        size = 64 << 20
        left = [size]

        def read(most):
            part = bytes(min(most, left[0]))
            left[0] -= len(part)
            return part

        place = spool.add(read, size)
        after = spool.add(lambda most: b"after", 5)
        assert os.fstat(place.descriptor).st_blocks * 512 < 1 << 20
        assert os.pread(place.descriptor, 10, place.offset + size - 10) == bytes(10)
        assert os.pread(after.descriptor, 5, after.offset) == b"after"


COMPRESSORS = {"plain": (), "gzip": ("-z",), "bzip2": ("-j",), "xz": ("-J",)}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_archives_are_known_by_their_content(store, tmp_path, name):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "f").write_bytes(b"content")
    (tmp_path / "tree" / ".wh.x").write_bytes(b"no deletion")
    path = tmp_path / "picture.jpg"
    subprocess.run(["tar", "-cf", path, *COMPRESSORS[name], "-C", tmp_path / "tree", "."], check=True)
    with Archives(store) as archives:
        found = {entry.path: entry for entry in archives.read(str(path))}
        assert set(found) == {"", "f", ".wh.x"}
        assert content_of(found["f"]) == b"content"
    assert not os.listdir(f"{store.root}/tmp")


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8bno gzip", b"BZhno", bytes(2000), b"\x28\xb5\x2f\xfdno zstd at all"])
def test_what_is_no_archive_is_a_file(store, tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with Archives(store) as archives:
        assert archives.read(str(tmp_path / "a.tar")) is None


def test_a_damaged_archive_is_an_error_that_names_it(store, tmp_path):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo("f")
        member.size = 5000
        archive.addfile(member, io.BytesIO(bytes(5000)))
    (tmp_path / "a.tar").write_bytes(raw.getvalue()[:2000])
    with Archives(store) as archives:
        with pytest.raises(LayerError, match=r"a\.tar: the archive ends"):
            archives.read(str(tmp_path / "a.tar"))
        with pytest.raises(ContextError, match="cannot read"):
            archives.read(str(tmp_path / "missing"))
    assert not os.listdir(f"{store.root}/tmp")
