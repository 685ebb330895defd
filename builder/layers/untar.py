"""Tars as entries with their contents, as layers and as archives that ADD unpacks.

Takes what other tools write: ustar, GNU's long names, base-256 numbers and sparse files, and every pax form of them. Names
that would leave the root are refused. Source: POSIX pax; GNU tar, "Basic Tar Format"; image-spec, layer.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.tar import BLOCK, DEVICE_KINDS, OPAQUE, SECOND, WHITEOUT, XATTR

_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
    b"S": Kind.FILE,
}
_LARGEST_RECORD = 8 << 20


class Stream(Protocol):
    """What a tar is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A part of a sparse file: `size` bytes at `offset` are in the archive, all others are zeros."""

    offset: int
    size: int


class Content:
    """The bytes of the entry that was read last. Whatever of them is not read is skipped with the next entry."""

    def __init__(self, stream: Stream, stored: int, size: int, map_: tuple[Hole, ...] | None) -> None:
        self._stream = stream
        self._left = stored
        self.size = size
        self._map = list(map_) if map_ is not None else None
        self._position = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, holes as zeros; empty at the end. Raises LayerError when the archive ends too early."""
        if self._map is None:
            return self._stored(min(size, self._left))
        if self._position >= self.size:
            return b""
        part = next((part for part in self._map if self._position < part.offset + part.size), None)
        if part is None or self._position < part.offset:
            end = part.offset if part else self.size
            content = bytes(min(size, end - self._position))
        else:
            content = self._stored(min(size, part.offset + part.size - self._position))
        self._position += len(content)
        return content

    def _stored(self, size: int) -> bytes:
        if not size:
            return b""
        content = self._stream.read(size)
        if not content:
            raise LayerError("the archive ends in the middle of a file")
        self._left -= len(content)
        return content

    def skip(self) -> None:
        """Read what is left of it."""
        while self._left:
            self._stored(min(self._left, 1 << 20))


def read(stream: Stream, *, whiteouts: bool = True) -> Iterator[tuple[Entry, Content]]:
    """The entries of a tar, in order, each with its content; `whiteouts` reads `.wh.` names as a layer means them.

    Raises LayerError for what is no tar, is cut off, or has a name with `..` in it.
    """
    source = _Exact(stream)
    common: dict[str, bytes] = {}
    records: dict[str, bytes] = {}
    while block := source.block():
        kind = block[156:157]
        size = _number(block[124:136])
        if kind == b"x" or kind == b"g":
            found = _records(source.padded(size))
            records.update(found) if kind == b"x" else common.update(found)
            continue
        if kind == b"L" or kind == b"K":
            records["path" if kind == b"L" else "linkpath"] = source.padded(size).rstrip(b"\0")
            continue
        if kind not in _KINDS:
            source.padded(size)
            records = {}
            continue
        values = {**common, **records} if common or records else {}
        records = {}
        parts, real_size = _sparse(source, block, kind, values)
        stored = int(values["size"]) if "size" in values and kind != b"S" else size
        entry = _entry(block, kind, values, real_size if real_size is not None else stored, whiteouts)
        if entry.kind is not Kind.FILE and kind not in (b"0", b"\0", b"7", b"S"):
            stored = 0 if kind in (b"1", b"2", b"3", b"4", b"5", b"6") and not size else size
        stored -= parts[1]
        content = Content(source, stored, entry.size, parts[0])
        yield entry, content
        content.skip()
        source.padding(-(stored + parts[1]) % BLOCK)


def _sparse(
    source: _Exact, block: bytes, kind: bytes, values: dict[str, bytes]
) -> tuple[tuple[tuple[Hole, ...] | None, int], int | None]:
    """The map of a sparse file, how many bytes of the stored content it took, and the file's real size."""
    if kind == b"S":
        numbers = [(_number(block[n : n + 12]), _number(block[n + 12 : n + 24])) for n in range(386, 482, 24)]
        more, real = block[482], _number(block[483:495])
        while more:
            extra = source.exactly(BLOCK)
            numbers += [(_number(extra[n : n + 12]), _number(extra[n + 12 : n + 24])) for n in range(0, 504, 24)]
            more = extra[504]
        return (tuple(Hole(*pair) for pair in numbers if pair[1]), 0), real
    if "GNU.sparse.name" in values:
        values["path"] = values["GNU.sparse.name"]
    real_text = values.get("GNU.sparse.realsize") or values.get("GNU.sparse.size")
    if real_text is None:
        return (None, 0), None
    if "GNU.sparse.map" in values:
        flat = [int(text) for text in values["GNU.sparse.map"].split(b",")]
        taken = 0
    elif values.get("GNU.sparse.major") == b"1":
        text, count = b"", None
        taken = 0
        while count is None or text.count(b"\n") < 1 + 2 * count:
            text += source.exactly(BLOCK)
            taken += BLOCK
            if count is None and b"\n" in text:
                count = int(text.split(b"\n", 1)[0])
            if taken > _LARGEST_RECORD:
                raise LayerError("the archive has a sparse file with too many parts")
        flat = [int(line) for line in text.split(b"\n")[1 : 1 + 2 * (count or 0)]]
    else:
        raise LayerError("the archive has a sparse file of an unknown form")
    return (tuple(Hole(offset, size) for offset, size in zip(flat[::2], flat[1::2], strict=False) if size), taken), int(real_text)


def _entry(block: bytes, kind_flag: bytes, values: dict[str, bytes], size: int, whiteouts: bool) -> Entry:
    raw = values.get("path")
    if raw is None:
        raw = block[:100].split(b"\0", 1)[0]
        prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
        raw = prefix + b"/" + raw if prefix else raw
    kind = _KINDS[kind_flag]
    if kind is Kind.FILE and raw.endswith(b"/"):
        kind = Kind.DIRECTORY
    path = _clean(raw)
    link = os.fsdecode(values.get("linkpath", block[157:257].split(b"\0", 1)[0]))
    if kind is Kind.HARDLINK:
        link = _clean(os.fsencode(link))
    elif kind is not Kind.SYMLINK:
        link = ""
    if whiteouts and kind is not Kind.DIRECTORY:
        parent, _, name = path.rpartition("/")
        if name == OPAQUE:
            return Entry(parent, Kind.OPAQUE)
        if name.startswith(WHITEOUT):
            hidden = name[len(WHITEOUT) :]
            if hidden in ("", ".", "..") or hidden.startswith(WHITEOUT):
                raise LayerError(f"{path}: not a whiteout of anything")
            return Entry(f"{parent}/{hidden}" if parent else hidden, Kind.WHITEOUT)
    mtime = _time(values["mtime"]) if "mtime" in values else _number(block[136:148]) * SECOND
    return Entry(
        path,
        kind,
        0o777 if kind is Kind.SYMLINK else _number(block[100:108]) & 0o7777,
        int(values["uid"]) if "uid" in values else _number(block[108:116]),
        int(values["gid"]) if "gid" in values else _number(block[116:124]),
        size if kind is Kind.FILE else 0,
        mtime,
        link,
        (_number(block[329:337]), _number(block[337:345])) if kind in DEVICE_KINDS else (0, 0),
        tuple(sorted((key[len(XATTR) :], value) for key, value in values.items() if key.startswith(XATTR))),
    )


def _clean(raw: bytes) -> str:
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise LayerError(f"{os.fsdecode(raw)!r}: the name leaves the archive's root", hint="the archive is not to be trusted")
    if b"\0" in raw:
        raise LayerError(f"{os.fsdecode(raw)!r}: the name has a NUL in it")
    return os.fsdecode(b"/".join(parts))


def _number(field: bytes) -> int:
    """An octal field, or GNU's base-256 one. Raises LayerError."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(1 << (8 * len(field) - 1))
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    text = field.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise LayerError("the archive is damaged: a header has a number that is none") from None


def _time(text: bytes) -> int:
    whole, _, fraction = text.decode("ascii", "replace").partition(".")
    try:
        nanoseconds = int((fraction + "000000000")[:9]) if fraction else 0
        return int(whole) * SECOND + (-nanoseconds if whole.startswith("-") else nanoseconds)
    except ValueError:
        raise LayerError("the archive is damaged: a header has a time that is none") from None


def _records(body: bytes) -> dict[str, bytes]:
    found = {}
    position = 0
    while position < len(body):
        blank = body.find(b" ", position)
        try:
            length = int(body[position:blank])
            key, equals, value = body[blank + 1 : position + length - 1].partition(b"=")
        except ValueError:
            length = 0
            equals = b""
        if length <= 0 or not equals or position + length > len(body):
            raise LayerError("the archive is damaged: a pax header has no records")
        found[os.fsdecode(key)] = value
        position += length
    return found


class _Exact:
    """Reads whole blocks."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._stream.read(size)
            if not part:
                raise LayerError("the archive ends too early")
            parts.append(part)
            size -= len(part)
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def padding(self, size: int) -> None:
        """What fills a file's last block. umoci's `insert` leaves it out behind the last file, as it does the archive's end."""
        if size and (part := self._stream.read(size)):
            self.exactly(size - len(part))

    def padded(self, size: int) -> bytes:
        """A header's own content."""
        if size > _LARGEST_RECORD:
            raise LayerError("the archive has a header of more than 8 MiB", hint="the archive is not to be trusted")
        content = self.exactly(size)
        self.exactly(-size % BLOCK)
        return content

    def block(self) -> bytes | None:
        """The next header, None at the end."""
        first = self._stream.read(BLOCK)
        if not first:
            return None
        block = first if len(first) == BLOCK else first + self.exactly(BLOCK - len(first))
        if not block.strip(b"\0"):
            return None
        total = sum(block) - sum(block[148:156]) + 8 * 32
        if _number(block[148:156]) != total:
            raise LayerError("not a tar archive, or a damaged one: the checksum of a header is wrong")
        return block


def is_tar(head: bytes) -> bool:
    """Whether these first bytes are a tar header."""
    try:
        return len(head) >= BLOCK and bool(head[:BLOCK].strip(b"\0")) and _Exact(_Bytes(head[:BLOCK])).block() is not None
    except LayerError:
        return False


class _Bytes:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int = -1) -> bytes:
        content, self._content = self._content[:size], self._content[size:]
        return content
