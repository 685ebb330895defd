"""Entries to a layer's blob, each byte touched once: file, tar, diffID, compressor, digest, disk.

A pool of blocks goes round between three threads: the caller's fills them with headers and files, one compresses, one
hashes and writes what comes out; the diffID is hashed beside the compressor. All of that releases the GIL, so the
compressor is what it takes. Memory is the pool, whatever the size of the layer.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue

from pybuild.builder.errors import ContextError, ExportError
from pybuild.builder.layers.compression import BLOCK, Compression
from pybuild.builder.layers.entry import BytesContent, Content, DiskContent, Entry, Kind, SpoolContent
from pybuild.builder.layers.tar import BLOCK as TAR_BLOCK
from pybuild.builder.layers.tar import END, header
from pybuild.hints import BinaryIO, Protocol
from pybuild.registry import Descriptor, Digest, Store, media
from pybuild.values import frozen

_POOL = 6
# What compresses, what hashes, what writes: a thread each.
_STAGES = 3
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_PADDING = bytes(TAR_BLOCK)
_BEYOND = bytearray(1)
# Who follows a blob is told of its growth this often.
_GROWTH = 4 << 20
Grown = Callable[[str, int], None]


@frozen
class Packed:
    """A layer's blob, and the digest of its tar."""

    descriptor: Descriptor
    diff_id: Digest


class _Sink(Protocol):
    def take(self, block: memoryview) -> memoryview:
        """Take a filled block; a block to fill next."""

    def finish(self, block: memoryview) -> None:
        """Take the last block."""


def pack(
    entries: Sequence[Entry],
    store: Store,
    compression: Compression,
    *,
    on_bytes: Callable[[int], None] | None = None,
    on_growth: Grown | None = None,
) -> Packed:
    """Write a layer into the store. `on_bytes` hears of bytes read, `on_growth` where the blob is being written and how far.

    Raises ContextError when a file changes its size meanwhile, and ExportError when the disk is full.
    """
    try:
        with store.writer() as writer:
            digest = hashlib.sha256()
            told = 0

            def write(content: bytes) -> None:
                nonlocal told
                digest.update(content)
                writer.write(content)
                if on_growth is not None and writer.size >= told + _GROWTH:
                    told = writer.size
                    on_growth(writer.path, told)

            pipeline = _Pipeline(compression, write)
            try:
                _stream(entries, pipeline, on_bytes)
            except BaseException:
                pipeline.abort()
                raise
            found = Digest.from_hex(digest.hexdigest())
            writer.commit(found)
            descriptor = Descriptor(media.layer_type(compression.name), found, writer.size)
            return Packed(descriptor, Digest.from_hex(pipeline.diff_id))
    except OSError as error:
        raise ExportError(
            f"cannot write to {store.root}: {error.strerror}", hint="free some space, or set PYBUILD_ROOT to another disk"
        ) from error


def write(entries: Sequence[Entry], out: BinaryIO) -> None:
    """Write entries as a plain tar stream."""
    _stream(entries, _File(out), None)


def _stream(entries: Sequence[Entry], sink: _Sink, on_bytes: Callable[[int], None] | None) -> None:
    """Fill blocks with the tar of these entries."""
    block = sink.take(memoryview(b""))
    position = 0

    def put(content: bytes) -> None:
        nonlocal block, position
        start = 0
        while start < len(content):
            if position == BLOCK:
                block, position = sink.take(block), 0
            size = min(BLOCK - position, len(content) - start)
            block[position : position + size] = content[start : start + size]
            position += size
            start += size

    for entry in entries:
        head = header(entry)
        end = position + len(head)
        if end <= BLOCK:
            block[position:end] = head
            position = end
        else:
            put(head)
        if entry.kind is not Kind.FILE or not entry.size:
            continue
        left = entry.size
        end = position + left
        if end <= BLOCK and type(entry.content) is DiskContent:
            # Most files are small: one read, straight into the block, and no more ceremony than that.
            if _read_whole(entry.content.path, block[position:end]) != left:
                raise _changed(entry)
            padding = -left % TAR_BLOCK
            block[end : end + padding] = _PADDING[:padding]
            position = end + padding
            if on_bytes is not None:
                on_bytes(left)
            continue
        with _Reader(entry) as reader:
            while left:
                if position == BLOCK:
                    block, position = sink.take(block), 0
                size = reader.into(block[position : position + min(left, BLOCK - position)])
                if not size:
                    raise _changed(entry)
                position += size
                left -= size
                if on_bytes is not None:
                    on_bytes(size)
            if not reader.is_at_end():
                raise _changed(entry)
        padding = -entry.size % TAR_BLOCK
        # A block is a multiple of a tar block: the padding always fits.
        block[position : position + padding] = _PADDING[:padding]
        position += padding
    put(END)
    sink.finish(block[:position])


def _read_whole(path: str, block: memoryview) -> int:
    try:
        descriptor = os.open(path, _READ)
        try:
            # Room for one byte more shows whether the file has grown.
            return os.readv(descriptor, (block, _BEYOND))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> ContextError:
    return ContextError(f"cannot read {path}: {error.strerror}", hint="if the build does not need it, put it into .dockerignore")


def _changed(entry: Entry) -> ContextError:
    where = entry.content.path if isinstance(entry.content, DiskContent) else f"/{entry.path}"
    return ContextError(f"{where} changed its size while it was copied", hint="build again when nothing writes to it")


class _Reader:
    """The content of one entry, read straight into blocks."""

    __slots__ = ("_bytes", "_content", "_descriptor", "_offset")

    def __init__(self, entry: Entry) -> None:
        self._content: Content | None = entry.content
        self._bytes = memoryview(b"")
        self._descriptor = -1
        self._offset = 0

    def __enter__(self) -> _Reader:
        match self._content:
            case DiskContent(path):
                try:
                    self._descriptor = os.open(path, _READ)
                except OSError as error:
                    raise _unreadable(path, error) from error
            case BytesContent(content):
                self._bytes = memoryview(content)
            case SpoolContent(_, offset):
                self._offset = offset
            case _:
                raise AssertionError(f"no content to read: {self._content}")
        return self

    def into(self, block: memoryview) -> int:
        """Fill a block as far as it goes; how many bytes it were."""
        match self._content:
            case DiskContent(path):
                try:
                    return os.readv(self._descriptor, (block,))
                except OSError as error:
                    raise _unreadable(path, error) from error
            case SpoolContent(descriptor, _):
                size = os.preadv(descriptor, (block,), self._offset)
                self._offset += size
                return size
        size = min(len(block), len(self._bytes))
        block[:size] = self._bytes[:size]
        self._bytes = self._bytes[size:]
        return size

    def is_at_end(self) -> bool:
        """Whether a file on disk has no more than was read of it."""
        return self._descriptor < 0 or not os.readv(self._descriptor, (_BEYOND,))

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class _File:
    """A sink that writes blocks to a file."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._block = memoryview(bytearray(BLOCK))

    def take(self, block: memoryview) -> memoryview:
        self._out.write(block)
        return self._block

    def finish(self, block: memoryview) -> None:
        self._out.write(block)


class _Pipeline:
    """A sink that hashes and compresses. A layer of less than a block never starts a thread."""

    def __init__(self, compression: Compression, write: Callable[[bytes], None]) -> None:
        self._compressor = compression.compressor()
        self._write = write
        self._hash = hashlib.sha256()
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._filled: SimpleQueue[memoryview | None] = SimpleQueue()
        self._hashed: SimpleQueue[memoryview | None] = SimpleQueue()
        self._out: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = threading.Semaphore(_POOL)
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._made = 0

    @property
    def diff_id(self) -> str:
        """The hex digest of the tar, once all is in."""
        return self._hash.hexdigest()

    def take(self, block: memoryview) -> memoryview:
        if block:
            if not self._threads:
                self._start()
            self._hand_on(block)
        if self._error is not None:
            raise self._error
        if self._made < _POOL:
            self._made += 1
            return memoryview(bytearray(BLOCK))
        return self._free.get()

    def finish(self, block: memoryview) -> None:
        if not self._threads:
            self._hash.update(block)
            self._write(self._compressor.compress(block) + self._compressor.flush())
            return
        self._hand_on(block)
        self._join()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """Stop the threads after an error."""
        if self._threads:
            self._join()

    def _join(self) -> None:
        self._filled.put(None)
        if len(self._threads) < _STAGES:
            # Not all of them could be started: nobody is there to end the others.
            self._hashed.put(None)
            self._out.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start(self) -> None:
        for target in (self._hash_blocks, self._compress_blocks, self._write_out):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _hand_on(self, block: memoryview) -> None:
        self._filled.put(block)

    def _hash_blocks(self) -> None:
        while (block := self._hashed.get()) is not None:
            self._hash.update(block)
            self._free.put(block)

    def _compress_blocks(self) -> None:
        try:
            while (block := self._filled.get()) is not None:
                self._put_out(partial(self._compressor.compress, block))
                self._hashed.put(block)
            self._put_out(self._compressor.flush)
        finally:
            self._hashed.put(None)
            self._out.put(None)

    def _put_out(self, make: Callable[[], bytes]) -> None:
        """Hand on what is made, unless something went wrong: blocks have to go round all the same, or nobody gets any."""
        if self._error is None:
            self._room.acquire()
            try:
                self._out.put(make())
            except BaseException as error:
                self._error = error

    def _write_out(self) -> None:
        while (content := self._out.get()) is not None:
            try:
                if self._error is None and content:
                    self._write(content)
            except BaseException as error:
                self._error = error
            finally:
                self._room.release()
