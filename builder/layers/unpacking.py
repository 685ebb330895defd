"""ADD's reading of local archives: known by their content, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterator

from pybuild.builder.errors import ContextError, LayerError
from pybuild.builder.layers.compression import LONGEST_MAGIC, Source, decompressed, detect
from pybuild.builder.layers.contents import Spool
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.tar import BLOCK as TAR_BLOCK
from pybuild.builder.layers.untar import is_tar, read
from pybuild.hints import BinaryIO
from pybuild.registry import Store


class Archives:
    """Archives that ADD unpacks. A context manager: the contents of their entries are there until it is left."""

    def __init__(self, store: Store, *, most_bytes: int | None = None, most_entries: int | None = None) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._spools: list[Spool] = []

    def read(self, path: str) -> tuple[Entry, ...] | None:
        """What is in the archive at `path`; None when it is no archive.

        Raises LayerError for a damaged one, ContextError for one that cannot be read, ExportError when the disk is full.
        """
        try:
            with open(path, "rb", buffering=0) as file:
                name = _compression(file)
                return None if name is None else tuple(self._entries(decompressed(file, name)))
        except OSError as error:
            raise ContextError(f"cannot read {path}: {error.strerror}") from error
        except LayerError as error:
            raise LayerError(f"{path}: {error.message}", hint=error.hint) from error

    def _entries(self, stream: Source) -> Iterator[Entry]:
        spool = Spool(self._store)
        self._spools.append(spool)
        total = 0
        for number, (entry, content) in enumerate(read(stream, whiteouts=False), 1):
            total += entry.size
            if self._most_bytes is not None and total > self._most_bytes:
                raise LayerError(f"over {self._most_bytes} bytes unpacked", hint="the archive is not to be trusted")
            if self._most_entries is not None and number > self._most_entries:
                raise LayerError(f"over {self._most_entries} files", hint="the archive is not to be trusted")
            if entry.kind is Kind.FILE:
                entry = entry._replace(content=spool.add(content.read, entry.size))
            yield entry

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *_: object) -> None:
        while self._spools:
            self._spools.pop().close()


def _compression(file: BinaryIO) -> str | None:
    """What a tar is compressed with, `none` too; None when the file is no tar. The file is at its start again."""
    name = detect(file.read(LONGEST_MAGIC))
    file.seek(0)
    stream = decompressed(file, name)
    head = b""
    try:
        while len(head) < TAR_BLOCK and (part := stream.read(TAR_BLOCK - len(head))):
            head += part
    except LayerError:
        # It only begins like a compressed file.
        return None
    file.seek(0)
    return name if is_tar(head) else None
