"""ADD's reading of local archives: known by their content, whatever they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.compression import BLOCK, LONGEST_MAGIC, decompressed, detect
from pybuild.builder.layers.entry import Entry, Kind, SpoolContent
from pybuild.builder.layers.extraction import write_all
from pybuild.builder.layers.tar import BLOCK as TAR_BLOCK
from pybuild.builder.layers.untar import is_tar, read
from pybuild.registry import Store


class Archives:
    """Archives that ADD unpacks. A context manager: the contents of their entries are there until it is left."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spools: list[int] = []

    def read(self, path: str) -> tuple[Entry, ...] | None:
        """What is in the archive at `path`; None when it is no archive. Raises LayerError for a damaged one."""
        with open(path, "rb", buffering=0) as file:
            name = detect(file.read(LONGEST_MAGIC))
            file.seek(0)
            stream = decompressed(file, name)
            try:
                head = stream.read(TAR_BLOCK)
                while len(head) < TAR_BLOCK and (more := stream.read(TAR_BLOCK - len(head))):
                    head += more
            except LayerError:
                # It only begins like a compressed file.
                return None
            if not is_tar(head):
                return None
            file.seek(0)
            return tuple(self._entries(decompressed(file, name)))

    def _entries(self, stream: object) -> Iterator[Entry]:
        spool, path = self._store.temporary()
        os.unlink(path)
        descriptor = os.dup(spool.fileno())
        spool.close()
        self._spools.append(descriptor)
        position = 0
        for entry, content in read(_Buffered(stream), whiteouts=False):
            if entry.kind is Kind.FILE:
                start = position
                left = entry.size
                while left:
                    part = content.read(min(left, BLOCK))
                    left -= len(part)
                    write_all(descriptor, part)
                    position += len(part)
                entry = entry._replace(content=SpoolContent(descriptor, start))
            yield entry

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *_: object) -> None:
        while self._spools:
            os.close(self._spools.pop())


class _Buffered:
    """Small reads out of large ones."""

    def __init__(self, source: object) -> None:
        self._source = source
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = self._source.read(BLOCK)  # type: ignore[attr-defined]
        content, self._rest = self._rest[:size], self._rest[size:]
        return content
