"""Entries as tar headers: POSIX pax, with ustar fields alone where they suffice. The same entry always gives the same bytes.

Source: POSIX pax, "ustar Interchange Format"; image-spec, layer.md, for whiteouts.
"""

from __future__ import annotations

import os
import zlib
from functools import cache

from pybuild.builder.layers.entry import Entry, Kind

BLOCK = 512
END = bytes(2 * BLOCK)

_TYPES = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
    Kind.WHITEOUT: b"0",
    Kind.OPAQUE: b"0",
}
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
XATTR = "SCHILY.xattr."
SECOND = 10**9
_MOST_OCTAL = 0o77777777777
_MAGIC = b"ustar\x0000"
_BLANKS = b" " * 8
DEVICE_KINDS = (Kind.CHARACTER, Kind.BLOCK)
_MARKS = (Kind.WHITEOUT, Kind.OPAQUE)


def header(entry: Entry) -> bytes:
    """All blocks in front of the entry's content; pax records first where ustar's fields are too small."""
    path = entry.path
    kind = entry.kind
    if kind in _MARKS:
        path = _mark(entry)
    name = os.fsencode(path)
    if kind is Kind.DIRECTORY:
        name += b"/"
    link = os.fsencode(entry.link) if kind is Kind.SYMLINK or kind is Kind.HARDLINK else b""
    size = entry.size if kind is Kind.FILE else 0
    seconds, fraction = divmod(entry.mtime_ns, SECOND)
    prefix = b""
    records: list[tuple[bytes, bytes]] = []
    if len(name) > 100 or not name.isascii():
        split = _split(name) if name.isascii() else None
        if split is None:
            records.append((b"path", name))
            name = name[:100]
        else:
            prefix, name = split
    if len(link) > 100 or not link.isascii():
        records.append((b"linkpath", link))
        link = link[:100]
    if size > _MOST_OCTAL:
        records.append((b"size", b"%d" % size))
    if entry.uid > 0o7777777:
        records.append((b"uid", b"%d" % entry.uid))
    if entry.gid > 0o7777777:
        records.append((b"gid", b"%d" % entry.gid))
    if fraction or not 0 <= seconds <= _MOST_OCTAL:
        text = b"%d" % seconds
        if fraction:
            sign, whole, rest = (b"-", -seconds - 1, SECOND - fraction) if seconds < 0 else (b"", seconds, fraction)
            text = b"%s%d.%09d" % (sign, whole, rest)
            text = text.rstrip(b"0")
        records.append((b"mtime", text))
    records.extend((XATTR.encode() + os.fsencode(key), value) for key, value in entry.xattrs)
    block = _block(entry, kind, name, link, size if size <= _MOST_OCTAL else 0, min(max(seconds, 0), _MOST_OCTAL), prefix)
    return _pax(records, block) if records else block


def _mark(entry: Entry) -> str:
    parent = f"{entry.path}/" if entry.kind is Kind.OPAQUE else f"{entry.parent}/"
    return (parent if parent != "/" else "") + (OPAQUE if entry.kind is Kind.OPAQUE else WHITEOUT + entry.name)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """ustar's prefix and name, when the name can be cut at a slash so that both fit."""
    cut = name.rfind(b"/", 0, 156)
    while cut > 0:
        if len(name) - cut - 1 > 100:
            return None
        if len(name) - cut - 1 > 0:
            return name[:cut], name[cut + 1 :]
        cut = name.rfind(b"/", 0, cut)
    return None


def _block(entry: Entry, kind: Kind, name: bytes, link: bytes, size: int, seconds: int, prefix: bytes) -> bytes:
    major, minor = entry.device if kind in DEVICE_KINDS else (0, 0)
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b%b%64b%07o\0%07o\0%b" % (
        name.ljust(100, b"\0"),
        entry.mode & 0o7777,
        entry.uid if entry.uid <= 0o7777777 else 0,
        entry.gid if entry.gid <= 0o7777777 else 0,
        size,
        seconds,
        _TYPES[kind],
        link.ljust(100, b"\0"),
        _MAGIC,
        bytes(64),
        major & 0o7777777,
        minor & 0o7777777,
        prefix.ljust(167, b"\0"),
    )
    return _summed(block)


def checksum(block: bytes) -> int:
    """The sum of a header's bytes, its own field taken as blanks."""
    # Adler-32's lower half is that sum, and one more, for up to 256 bytes; it is 20 times faster than sum().
    low = zlib.adler32(block[156:256], zlib.adler32(_BLANKS, zlib.adler32(block[:148])))
    return (low & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


def _summed(block: bytes) -> bytes:
    return b"%b%06o\0 %b" % (block[:148], checksum(block), block[156:])


def _pax(records: list[tuple[bytes, bytes]], block: bytes) -> bytes:
    body = b"".join([_record(key, value) for key, value in sorted(records)])
    return b"%b%b%b%b" % (_pax_head(len(body)), body, bytes(-len(body) % BLOCK), block)


@cache
def _pax_head(size: int) -> bytes:
    holder = Entry("", Kind.FILE, 0o644)
    head = _block(holder, Kind.FILE, b"././@PaxHeader", b"", size, 0, b"")
    return _summed(head[:148] + b"        x" + head[157:])


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    total = length + len(str(total))
    return b"%d %b=%b\n" % (total, key, value)
