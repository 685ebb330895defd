"""Tars as entries with their contents, as layers and as archives that ADD unpacks.

Takes what other tools write: ustar, GNU's long names, base-256 numbers and sparse files, and every pax form of them. Names
that would leave the root are refused. Source: POSIX pax; GNU tar, "Basic Tar Format"; image-spec, layer.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pybuild.builder.errors import LayerError
from pybuild.builder.layers import fields
from pybuild.builder.layers.bombs import Tally
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.tar import BLOCK, DEVICE_KINDS, OPAQUE, SECOND, WHITEOUT, XATTR, checksum
from pybuild.hints import Protocol
from pybuild.values import frozen

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
    # GNU's directory with the names of what was in it, for incremental backups.
    b"D": Kind.DIRECTORY,
}
# These have no content, whatever their size says: Go's and Python's readers agree on it.
_BARE = b"123456"
_VOLUME_LABEL = b"V"
_AUFS = ".wh..wh."
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")
_LARGEST_RECORD = 8 << 20
_READ_BYTES = 1 << 20
_ZEROS = bytes(BLOCK)


class Stream(Protocol):
    """What a tar is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end."""


@frozen
class Part:
    """A part of a sparse file: `size` bytes at `offset` are in the archive, all others are zeros."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where the next one may begin."""
        return self.offset + self.size


class Content:
    """The bytes of the entry that was read last. Whatever of them is not read is skipped with the next entry."""

    __slots__ = ("_left", "_map", "_part", "_position", "_stream", "size")

    def __init__(self, stream: Stream, stored: int, size: int, map_: tuple[Part, ...] | None) -> None:
        self._stream = stream
        self._left = stored
        self.size = size
        self._map = map_
        self._part = 0
        self._position = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, holes as zeros; empty at the end. Raises LayerError when the archive ends too early."""
        if self._map is None:
            return self._stored(size)
        while self._part < len(self._map) and self._position >= self._map[self._part].end:
            self._part += 1
        part = self._map[self._part] if self._part < len(self._map) else Part(self.size, 0)
        if self._position < part.offset:
            content = bytes(min(size, part.offset - self._position))
        else:
            content = self._stored(min(size, part.end - self._position))
        self._position += len(content)
        return content

    def _stored(self, size: int) -> bytes:
        size = min(size, self._left)
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
            self._stored(_READ_BYTES)


def read(stream: Stream, *, whiteouts: bool = True) -> Iterator[tuple[Entry, Content]]:
    """The entries of a tar, in order, each with its content; `whiteouts` reads `.wh.` names as a layer means them.

    Reads in large blocks, beyond the archive's end too. Raises LayerError for what is no tar, is cut off or damaged, or has
    a name with `..` in it.
    """
    source = _Blocks(stream)
    tally = Tally()
    common: dict[str, bytes] = {}
    records: dict[str, bytes] = {}
    while block := source.header():
        flag = block[156:157]
        size = fields.number(block[124:136])
        if not 0 <= size <= fields.LARGEST:
            raise fields.damaged("a header has a size that is none")
        if flag == b"x" or flag == b"g":
            found = fields.records(source.padded(size))
            records.update(found) if flag == b"x" else common.update(found)
            continue
        if flag == b"L" or flag == b"K":
            records["path" if flag == b"L" else "linkpath"] = source.padded(size).split(b"\0", 1)[0]
            continue
        values = _merged(common, records) if common or records else records
        records = {}
        if flag == _VOLUME_LABEL:
            Content(source, size + -size % BLOCK, size, None).skip()
            continue
        if flag not in _KINDS:
            raise LayerError(f"the archive has an entry of an unknown type: {os.fsdecode(flag)!r}")
        stored = 0 if flag in _BARE else fields.integer(values["size"]) if "size" in values else size
        sparse = _sparse(source, block, flag, values)
        entry = _entry(block, flag, values, stored if sparse is None else sparse.size, whiteouts)
        left = stored
        if sparse is not None:
            left -= sparse.taken
            _check(sparse, left)
        tally.add(stored if sparse is None else sparse.size, stored)
        content = Content(source, left, stored if sparse is None else sparse.size, None if sparse is None else sparse.parts)
        if entry is not None:
            yield entry, content
        content.skip()
        source.padding(-stored % BLOCK)


@frozen
class _Sparse:
    """The parts of a sparse file, its real size, and how many bytes of the stored content the map took."""

    parts: tuple[Part, ...]
    size: int
    taken: int


def _sparse(source: _Blocks, block: bytes, flag: bytes, values: dict[str, bytes]) -> _Sparse | None:
    if flag == b"S":
        numbers = [(fields.number(block[n : n + 12]), fields.number(block[n + 12 : n + 24])) for n in range(386, 482, 24)]
        more = block[482]
        while more:
            extra = source.exactly(BLOCK)
            numbers += [(fields.number(extra[n : n + 12]), fields.number(extra[n + 12 : n + 24])) for n in range(0, 504, 24)]
            more = extra[504]
            if len(numbers) * 24 > _LARGEST_RECORD:
                raise _too_many()
        return _Sparse(tuple(Part(*pair) for pair in numbers if pair[1]), fields.number(block[483:495]), 0)
    if "GNU.sparse.name" in values:
        values["path"] = values["GNU.sparse.name"]
    size_text = values.get("GNU.sparse.realsize") or values.get("GNU.sparse.size")
    if size_text is None:
        return None
    taken = 0
    if "GNU.sparse.map" in values:
        flat = [fields.integer(text) for text in values["GNU.sparse.map"].split(b",")]
    elif values.get("GNU.sparse.major") == b"1":
        lines: list[bytes] = []
        rest = b""
        count = None
        while count is None or len(lines) < 1 + 2 * count:
            *more_lines, rest = (rest + source.exactly(BLOCK)).split(b"\n")
            lines += more_lines
            taken += BLOCK
            if count is None and lines:
                count = fields.integer(lines[0])
            if taken > _LARGEST_RECORD:
                raise _too_many()
        flat = [fields.integer(line) for line in lines[1 : 1 + 2 * count]]
    else:
        # Version 0.0 repeats its records, which a reader of pax takes for one that was replaced.
        raise LayerError("the archive has a sparse file of an unknown form", hint="GNU tar's --sparse-version=1.0 is understood")
    parts = tuple(Part(offset, size) for offset, size in zip(flat[::2], flat[1::2], strict=False) if size)
    return _Sparse(parts, fields.integer(size_text), taken)


def _check(sparse: _Sparse, stored: int) -> None:
    position = total = 0
    for part in sparse.parts:
        if part.offset < position or part.size < 0:
            raise fields.damaged("the parts of a sparse file overlap")
        position = part.end
        total += part.size
    if not position <= sparse.size <= fields.LARGEST or total > stored:
        raise fields.damaged("the parts of a sparse file do not fit it")


def _too_many() -> LayerError:
    return LayerError("the archive has a sparse file with too many parts")


def _merged(common: dict[str, bytes], records: dict[str, bytes]) -> dict[str, bytes]:
    """What counts for one entry. An empty value takes a record away; an attribute's may be empty."""
    return {key: value for key, value in {**common, **records}.items() if value or key.startswith(XATTR)}


def _entry(block: bytes, flag: bytes, values: dict[str, bytes], size: int, whiteouts: bool) -> Entry | None:
    """The entry of a header; None for what aufs once left in layers for itself."""
    raw = values.get("path")
    if raw is None:
        raw = block[:100].split(b"\0", 1)[0]
        if block[345] and block[257:263] == b"ustar\0":
            raw = block[345:500].split(b"\0", 1)[0] + b"/" + raw
    kind = _KINDS[flag]
    if kind is Kind.FILE and raw.endswith(b"/"):
        kind = Kind.DIRECTORY
    path = _clean(raw)
    if not path and kind is not Kind.DIRECTORY:
        raise LayerError(f"{os.fsdecode(raw)!r}: the root can be nothing but a directory")
    if whiteouts and WHITEOUT in path:
        if path.startswith(_AUFS) and path != OPAQUE:
            return None
        if mark := _mark(path):
            return mark
    link = ""
    if kind is Kind.SYMLINK or kind is Kind.HARDLINK:
        raw_link = values["linkpath"] if "linkpath" in values else block[157:257].split(b"\0", 1)[0]
        link = _clean(raw_link) if kind is Kind.HARDLINK else fields.text(raw_link)
    device = (0, 0)
    if kind in DEVICE_KINDS:
        device = (fields.number(block[329:337]), fields.number(block[337:345]))
        if not all(0 <= number <= 0xFFFFF for number in device):
            raise fields.damaged(f"{path} has a device number that is none")
        if whiteouts and kind is Kind.CHARACTER and device == (0, 0):
            # The kernel would show it as one.
            return Entry(path, Kind.WHITEOUT)
    mtime = fields.time(values["mtime"]) if "mtime" in values else fields.bounded(fields.number(block[136:148]) * SECOND)
    return Entry(
        path,
        kind,
        0o777 if kind is Kind.SYMLINK else fields.number(block[100:108]) & 0o7777,
        fields.owner(fields.integer(values["uid"]) if "uid" in values else fields.number(block[108:116])),
        fields.owner(fields.integer(values["gid"]) if "gid" in values else fields.number(block[116:124])),
        size if kind is Kind.FILE else 0,
        mtime,
        link,
        device,
        _xattrs(values) if values else (),
    )


def _mark(path: str) -> Entry | None:
    parent, _, name = path.rpartition("/")
    if name == OPAQUE:
        return Entry(parent, Kind.OPAQUE)
    if not name.startswith(WHITEOUT):
        return None
    hidden = name[len(WHITEOUT) :]
    if hidden in ("", ".", "..") or hidden.startswith(WHITEOUT):
        raise LayerError(f"{path}: not a whiteout of anything")
    return Entry(f"{parent}/{hidden}" if parent else hidden, Kind.WHITEOUT)


def _xattrs(values: dict[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    """The attributes, without overlay's own: they would say what is below, and that is not the layer's to say."""
    names = [(key[len(XATTR) :], value) for key, value in values.items() if key.startswith(XATTR)]
    return tuple(sorted(pair for pair in names if pair[0] and not pair[0].startswith(_OVERLAY_XATTRS)))


def _clean(raw: bytes) -> str:
    path = fields.text(raw)
    if path.startswith("/") or path.endswith("/") or "." in path or "//" in path:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise LayerError(f"{path!r}: the name leaves the archive's root", hint="the archive is not to be trusted")
        path = "/".join(parts)
    return path


class _Blocks:
    """Small reads out of large ones: a tar is read 512 bytes at a time, and what is below should not notice."""

    __slots__ = ("_position", "_ready", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._ready = b""
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; empty at the end."""
        if self._position == len(self._ready):
            self._ready, self._position = self._stream.read(_READ_BYTES), 0
        position = self._position
        content = self._ready[position : position + size]
        self._position = position + len(content)
        return content

    def exactly(self, size: int) -> bytes:
        """`size` bytes. Raises LayerError at the end."""
        content = self.read(size) if size else b""
        if len(content) == size:
            return content
        parts = [content]
        size -= len(content)
        while size:
            content = self.read(size)
            if not content:
                raise LayerError("the archive ends too early")
            parts.append(content)
            size -= len(content)
        return b"".join(parts)

    def padding(self, size: int) -> None:
        """What fills a file's last block. umoci's `insert` leaves it out behind the last file, as it does the archive's end."""
        if size and (part := self.read(size)):
            self.exactly(size - len(part))

    def padded(self, size: int) -> bytes:
        """A header's own content."""
        if size > _LARGEST_RECORD:
            raise LayerError("the archive has a header of more than 8 MiB", hint="the archive is not to be trusted")
        return self.exactly(size + -size % BLOCK)[:size]

    def header(self) -> bytes | None:
        """The next header, None at the end."""
        first = self.read(BLOCK)
        if not first:
            return None
        block = first if len(first) == BLOCK else first + self.exactly(BLOCK - len(first))
        if block == _ZEROS:
            return None
        if (found := fields.number(block[148:156])) != checksum(block) and found != _signed_sum(block):
            raise LayerError("not a tar archive, or a damaged one: the checksum of a header is wrong")
        return block


def _signed_sum(block: bytes) -> int:
    """The checksum as some old programs have it, which took bytes for signed ones."""
    return checksum(block) - 256 * sum(byte >= 0x80 for byte in block[:148] + block[156:])


def is_tar(head: bytes) -> bool:
    """Whether these first bytes are a tar header."""
    try:
        return len(head) >= BLOCK and _Blocks(_Bytes(head[:BLOCK])).header() is not None
    except LayerError:
        return False


class _Bytes:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int = -1) -> bytes:
        content, self._content = self._content, b""
        return content
