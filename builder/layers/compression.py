"""Compressors of layers and readers of compressed streams. The only module that knows isal and zstandard.

gzip at levels 1 and 2 is isal's, fed in blocks of 1 MiB: its output depends on the sizes that it is fed, so the same
layer always gives the same bytes. zstd runs with threads, whose number does not change its output.
"""

from __future__ import annotations

from collections.abc import Callable

from pybuild.builder.errors import LayerError, PlanError
from pybuild.builder.layers import bombs
from pybuild.hints import IO, Protocol, cast
from pybuild.values import frozen, natural

BLOCK = 1 << 20
_THREADS = 2
_INPUT = 256 << 10
# xz -9 takes 65 MiB; a header may ask for 4 GiB.
_MOST_XZ = 128 << 20


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


@frozen
class _Codec:
    levels: range
    default: int
    make: Callable[[int], Compressor]


COMPRESSIONS = {
    "gzip": _Codec(range(1, 10), 1, _Gzip),
    "zstd": _Codec(range(1, 20), 3, _zstd),
    "none": _Codec(range(1), 0, lambda level: Plain()),
}


@frozen
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
        level = natural(level_text)
        if level is None or level not in codec.levels:
            if len(codec.levels) == 1:
                raise PlanError(f"no such level of {name}: {level_text!r}", hint=f"write {name} alone")
            raise PlanError(f"no such level of {name}: {level_text!r}", hint=f"there are {codec.levels[0]} to {codec.levels[-1]}")
        return cls(name, level)

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
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, content: bytes, most: int, /) -> bytes:
        """Up to `most` bytes of what these bytes, and those before, decompress to."""


class Decompressed:
    """A compressed stream as the bytes in it. Several members, one behind the other, are read as one.

    A block at a time, however much a few bytes may decompress to. Raises LayerError when the stream is damaged or ends
    too early.
    """

    def __init__(self, source: Source, name: str, make: Callable[[], _Decompressor]) -> None:
        self._source = source
        self._name = name
        self._make = make
        self._codec: _Decompressor | None = None
        self._input = b""
        self._ready = b""
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, empty at the end; all for -1."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if self._position == len(self._ready) and not self._fill():
            return b""
        content = self._ready[self._position : self._position + size]
        self._position += len(content)
        return content

    def _fill(self) -> bool:
        """Decompress some more; False at the end."""
        while True:
            content = b""
            if self._codec is None or self._codec.eof or self._codec.needs_input:
                content, self._input = self._input or self._source.read(_INPUT), b""
                if not content:
                    if self._codec is not None and not self._codec.eof:
                        raise LayerError(f"the {self._name} stream ends too early")
                    return False
                if self._codec is not None and self._codec.eof and not content.strip(b"\0"):
                    # Behind the last member zeros are padding.
                    continue
                if self._codec is None or self._codec.eof:
                    self._codec = self._make()
            try:
                self._ready, self._position = self._codec.decompress(content, BLOCK), 0
            except Exception as error:
                raise LayerError(f"the {self._name} stream is damaged: {error}") from error
            if self._codec.eof:
                self._input = self._codec.unused_data
            if self._ready:
                return True


class _Zstd:
    """A zstd stream as the bytes in it, all of its frames. One that is cut off ends early and says nothing."""

    def __init__(self, source: Source) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor().stream_reader(
            cast(IO[bytes], source), read_size=_INPUT, read_across_frames=True
        )

    def read(self, size: int = -1) -> bytes:
        try:
            return self._reader.read(size)
        except self._error as error:
            raise LayerError(f"the zstd stream is damaged: {error}") from error


def _gzip_reader(source: Source) -> Source:
    from isal import igzip_lib

    return Decompressed(source, "gzip", lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))


def _bzip2_reader(source: Source) -> Source:
    import bz2

    return Decompressed(source, "bzip2", bz2.BZ2Decompressor)


def _xz_reader(source: Source) -> Source:
    import lzma

    return Decompressed(source, "xz", lambda: lzma.LZMADecompressor(memlimit=_MOST_XZ))


_READERS: dict[str, Callable[[Source], Source]] = {
    "none": lambda source: source,
    "gzip": _gzip_reader,
    "zstd": _Zstd,
    "bzip2": _bzip2_reader,
    "xz": _xz_reader,
}


def decompressed(source: Source, name: str) -> Source:
    """The bytes in a stream that is compressed with `name`, read so that memory does not grow with them.

    Raises LayerError for what is damaged, or a bomb.
    """
    allowed = bombs.limits() if name != "none" else None
    if allowed is None:
        return _READERS[name](source)
    measured = bombs.Measured(source)
    return bombs.Guarded(_READERS[name](measured), measured, allowed)
