"""Archives that lie: every one of them is a LayerError, and none takes more than a little memory."""

from __future__ import annotations

import io
import struct
import tarfile
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.tar import BLOCK, END, XATTR, checksum, header
from pybuild.builder.layers.untar import read

PLAIN = header(Entry("a", Kind.FILE, 0o644, size=5)) + b"hello".ljust(BLOCK, b"\0")


def summed(block: bytes) -> bytes:
    return b"%b%06o\0 %b" % (block[:148], checksum(block), block[156:])


def patched(block: bytes, offset: int, value: bytes) -> bytes:
    return summed(block[:offset] + value + block[offset + len(value) : BLOCK]) + block[BLOCK:]


def with_records(*records: tuple[bytes, bytes], target: bytes = PLAIN) -> bytes:
    body = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        total = length + len(str(length))
        total = length + len(str(total))
        body += b"%d %b=%b\n" % (total, key, value)
    head = patched(header(Entry("x", Kind.FILE, 0o644, size=len(body))), 156, b"x")
    return head + body.ljust(-(-len(body) // BLOCK) * BLOCK, b"\0") + target + END


def entries(content: bytes) -> list[Entry]:
    return [entry for entry, _ in read(io.BytesIO(content))]


@pytest.mark.parametrize(
    "record",
    [
        (b"size", b"abc"),
        (b"size", b"-5"),
        (b"size", b"9" * 30),
        (b"uid", b"x"),
        (b"uid", b"4294967295"),
        (b"gid", b"9" * 19),
        (b"mtime", b"soon"),
        (b"path", b"a\0b"),
        (b"path", b"a/" * 3000),
        (b"path", b"a/../../b"),
        (XATTR.encode() + b"user.a\0b", b"x"),
        (b"GNU.sparse.realsize", b"5"),
    ],
    ids=lambda record: f"{record[0][:20]!r}-{record[1][:10]!r}",
)
def test_pax_records_that_mean_nothing_are_errors(record):
    with pytest.raises(LayerError):
        entries(with_records(record))


def test_an_empty_record_means_that_there_is_none():
    assert entries(with_records((b"size", b""), (b"path", b"")))[0] == Entry("a", Kind.FILE, 0o644, size=5)


def test_a_time_beyond_64_bits_is_the_last_one():
    assert entries(with_records((b"mtime", b"9" * 39)))[0].mtime_ns == (1 << 63) - 1
    assert entries(with_records((b"mtime", b"-" + b"9" * 38)))[0].mtime_ns == -(1 << 63) + 1


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (124, b"\xff" * 12),
        (124, b"\x80" + b"\x7f" * 11),
        (124, b"99999999999\0"),
        (108, b"\xff" * 8),
        (156, b"Z"),
        (156, b"M"),
    ],
)
def test_headers_that_mean_nothing_are_errors(offset, value):
    with pytest.raises(LayerError):
        entries(patched(PLAIN, offset, value) + END)


def test_an_owner_of_minus_two_is_nobody():
    assert entries(patched(PLAIN, 108, b"\xff" * 7 + b"\xfe") + END)[0].uid == 2**32 - 2


def test_a_link_with_a_nul_is_an_error():
    with pytest.raises(LayerError, match="no file can have this name"):
        entries(with_records((b"linkpath", b"a\0b"), target=header(Entry("l", Kind.SYMLINK, link="x"))))


@pytest.mark.parametrize("kind", [Kind.SYMLINK, Kind.FIFO, Kind.FILE])
def test_the_root_is_a_directory(kind):
    with pytest.raises(LayerError, match="directory"):
        entries(header(Entry(".", kind, link="/etc" if kind is Kind.SYMLINK else "")) + END)


def test_a_size_on_what_has_no_content_does_not_count():
    # star writes the size of a hard link's file, without the content.
    link = patched(header(Entry("hard", Kind.HARDLINK, link="a")), 124, b"00000000005\0")
    assert [entry.path for entry in entries(PLAIN + link + PLAIN + END)] == ["a", "hard", "a"]


def test_a_volume_label_is_no_file():
    label = patched(header(Entry("label", Kind.FILE)), 156, b"V")
    assert [entry.path for entry in entries(label + PLAIN + END)] == ["a"]


@pytest.mark.parametrize("offset", [0, 100, 124, 148, 156, 345])
def test_a_header_that_is_not_as_its_checksum_says_is_none(offset):
    damaged = PLAIN[:offset] + bytes([PLAIN[offset] ^ 1]) + PLAIN[offset + 1 :]
    with pytest.raises(LayerError, match="the checksum of a header is wrong"):
        entries(damaged + END)


def test_checksums_of_signed_bytes_are_taken():
    block = header(Entry("a", Kind.FILE, 0o644))
    block = b"\xff" + block[1:]
    total = sum(struct.unpack("512b", block[:148] + b" " * 8 + block[156:]))
    assert len(entries(block[:148] + b"%06o\0 " % total + block[156:] + END)) == 1


def test_what_aufs_left_in_old_layers_is_left_out():
    old = [header(Entry(path, Kind.FILE)) for path in (".wh..wh.aufs", ".wh..wh.plnk/12.34", "b")]
    assert [entry.path for entry in entries(b"".join(old) + END)] == ["b"]


@pytest.mark.parametrize("path", [".wh.", ".wh..", ".wh...", "d/.wh...", "d/.wh..wh.f"])
def test_a_whiteout_is_of_one_name(path):
    with pytest.raises(LayerError, match="not a whiteout of anything"):
        entries(header(Entry(path, Kind.FILE)) + END)


def test_a_device_0_0_is_the_whiteout_that_the_kernel_takes_it_for():
    assert entries(header(Entry("d/gone", Kind.CHARACTER, 0o666)) + END) == [Entry("d/gone", Kind.WHITEOUT)]


def test_attributes_of_overlay_are_not_a_layer_s_to_set():
    names = (b"trusted.overlay.opaque", b"user.overlay.redirect", b"user.kept")
    found = entries(with_records(*((XATTR.encode() + name, b"y") for name in names)))
    assert found[0].xattrs == (("user.kept", b"y"),)


def sparse(map_: bytes, real: int, stored: int) -> bytes:
    target = header(Entry("s", Kind.FILE, 0o644, size=stored)) + b"x" * stored + bytes(-stored % BLOCK)
    return with_records((b"GNU.sparse.map", map_), (b"GNU.sparse.size", b"%d" % real), target=target)


@pytest.mark.parametrize(
    ("map_", "real", "stored"),
    [
        (b"0,3,1,3", 10, 6),
        (b"5,3,0,3", 10, 6),
        (b"0,20", 10, 20),
        (b"0,9", 10, 5),
        (b"0,x", 10, 5),
        (b"0,5", 2**63, 5),
    ],
)
def test_maps_of_sparse_files_that_cannot_be_are_errors(map_, real, stored):
    with pytest.raises(LayerError):
        entries(sparse(map_, real, stored))


def test_the_parts_of_a_sparse_file_are_put_where_they_belong():
    ((entry, content),) = (
        (entry, b"".join(iter(partial(stream.read, 100), b""))) for entry, stream in read(io.BytesIO(sparse(b"2,3,7,2", 12, 5)))
    )
    assert (entry.size, content) == (12, b"\0\0xxx\0\0xx\0\0\0")


@given(st.data())
def test_one_changed_byte_gives_entries_or_a_layer_error(data):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("n" * 150)
        member.size, member.mtime = 700, 1.5
        archive.addfile(member, io.BytesIO(b"c" * 700))
    content = bytearray(raw.getvalue()[: 6 * BLOCK])
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    block = position // BLOCK * BLOCK
    if content[block + 257 : block + 262] == b"ustar":
        # The checksum is put right, so that what is behind it is tried too.
        content[block : block + BLOCK] = summed(bytes(content[block : block + BLOCK]))
    try:
        for entry, stream in read(io.BytesIO(bytes(content))):
            assert ".." not in entry.path.split("/") and abs(entry.mtime_ns) < 1 << 63
            while stream.read(1 << 16):
                pass
    except LayerError:
        pass
