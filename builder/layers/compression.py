"""Compressors of layers and readers of compressed streams. The only module that knows isal and zstandard.

gzip at levels 1 and 2 is isal's, fed in blocks of 1 MiB: its output depends on the sizes that it is fed, so the same
layer always gives the same bytes. zstd runs with threads, whose number does not change its output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

from pybuild.builder.errors import LayerError, PlanError

BLOCK = 1 << 20
_THREADS = 2


class Compressor(Protocol):
    """Takes blocks of exactly `BLOCK` bytes, the last one may be smaller."""

    def compress(self, content: memoryview, /) -> bytes:
        """What is ready of the output."""

    def flush(self) -> bytes:
        """The rest of the output."""


class Plain:
    """No compression."""

    def compress(self, content: memoryview) -> bytes:
        return bytes(content)

    def flush(self) -> bytes:
        return b""


class _Gzip:
    """A gzip member with a fixed header: no name, no time."""

    def __init__(self, level: int) -> None:
        self._crc, self._deflate = _deflate(level)
        self._check = 0
        self._size = 0
        self._head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

    def compress(self, content: memoryview) -> bytes:
        self._check = self._crc(content, self._check)
        self._size += len(content)
        head, self._head = self._head, b""
        return head + self._deflate.compress(content)

    def flush(self) -> bytes:
        tail = self._check.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        head, self._head = self._head, b""
        return head + self._deflate.flush() + tail


def _deflate(level: int) -> tuple[Callable[[memoryview, int], int], Compressor]:
    if level <= 2:
        from isal import isal_zlib

        return isal_zlib.crc32, isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15)
    import zlib

    return zlib.crc32, zlib.compressobj(level, zlib.DEFLATED, -15)


def _zstd(level: int) -> Compressor:
    import zstandard

    return cast(Compressor, zstandard.ZstdCompressor(level=level, threads=_THREADS, write_checksum=True).compressobj())


@dataclass(frozen=True, slots=True)
class _Codec:
    levels: range
    default: int
    make: Callable[[int], Compressor]


COMPRESSIONS = {
    "gzip": _Codec(range(1, 10), 1, _Gzip),
    "zstd": _Codec(range(1, 20), 3, _zstd),
    "none": _Codec(range(1), 0, lambda level: Plain()),
}


@dataclass(frozen=True, slots=True)
class Compression:
    """A codec and its level."""

    name: str
    level: int

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Read `gzip`, `zstd` or `none`, with `:LEVEL` behind it or not. Raises PlanError."""
        name, colon, level_text = text.partition(":")
        codec = COMPRESSIONS.get(name)
        if codec is None:
            raise PlanError(f"no such compression: {name!r}", hint=f"there are {', '.join(COMPRESSIONS)}")
        if not colon:
            return cls(name, codec.default)
        if not level_text.isascii() or not level_text.isdigit() or int(level_text) not in codec.levels:
            if len(codec.levels) == 1:
                raise PlanError(f"no such level of {name}: {level_text!r}", hint=f"write {name} alone")
            raise PlanError(f"no such level of {name}: {level_text!r}", hint=f"there are {codec.levels[0]} to {codec.levels[-1]}")
        return cls(name, int(level_text))

    def compressor(self) -> Compressor:
        """A new compressor."""
        return COMPRESSIONS[self.name].make(self.level)

    def __str__(self) -> str:
        return self.name if self.level == COMPRESSIONS[self.name].default else f"{self.name}:{self.level}"


# Reading

_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
LONGEST_MAGIC = 6


def detect(head: bytes) -> str:
    """What a stream that begins so is compressed with; `none` for anything unknown."""
    return next((name for magic, name in _MAGICS if head.startswith(magic)), "none")


class Source(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end."""


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, content: bytes, /) -> bytes:
        """What these bytes decompress to."""


class Decompressed:
    """A compressed stream as the bytes in it. Several members, one behind the other, are read as one.

    Raises LayerError when the stream is damaged or ends too early.
    """

    def __init__(self, source: Source, name: str) -> None:
        self._source = source
        self._name = name
        self._make = _DECOMPRESSORS[name]
        self._codec: _Decompressor | None = None
        self._ready = b""
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, empty at the end; all for -1."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        while self._position == len(self._ready):
            if not self._fill():
                return b""
        content = self._ready[self._position : self._position + size]
        self._position += len(content)
        return content

    def _fill(self) -> bool:
        content = self._source.read(256 << 10)
        if not content:
            if self._codec is not None and not self._codec.eof:
                raise LayerError(f"the {self._name} stream ends too early")
            return False
        parts = []
        try:
            while content:
                if self._codec is None or self._codec.eof:
                    if self._codec is not None and not content.strip(b"\0"):
                        break
                    self._codec = self._make()
                parts.append(self._codec.decompress(content))
                content = self._codec.unused_data if self._codec.eof else b""
        except Exception as error:
            raise LayerError(f"the {self._name} stream is damaged: {error}") from error
        self._ready, self._position = b"".join(parts), 0
        return True


def _gunzip() -> _Decompressor:
    from isal import isal_zlib

    return cast(_Decompressor, isal_zlib.decompressobj(31))


def _unzstd() -> _Decompressor:
    import zstandard

    return cast(_Decompressor, zstandard.ZstdDecompressor().decompressobj())


def _unbzip2() -> _Decompressor:
    import bz2

    return cast(_Decompressor, bz2.BZ2Decompressor())


def _unxz() -> _Decompressor:
    import lzma

    return cast(_Decompressor, lzma.LZMADecompressor())


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _gunzip,
    "zstd": _unzstd,
    "bzip2": _unbzip2,
    "xz": _unxz,
}


def decompressed(source: Source, name: str) -> Source:
    """The bytes in a stream that is compressed with `name`."""
    return source if name == "none" else Decompressed(source, name)


def open_decompressed(file: BinaryIO) -> Source:
    """A file decompressed, whatever it is compressed with; told by its first bytes."""
    head = file.read(LONGEST_MAGIC)
    file.seek(0)
    return decompressed(file, detect(head))
