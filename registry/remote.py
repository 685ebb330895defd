"""A repository as an end of a copy. What goes from one registry to another never touches the disk."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from pybuild.registry.download import Download, Sink
from pybuild.registry.ends import Source, Told
from pybuild.registry.errors import BrokenOff, InvalidReference, OutOfTime, SourceFailed, TransferError
from pybuild.registry.model import Descriptor
from pybuild.registry.origins import origins, remember
from pybuild.registry.parts import Parts
from pybuild.registry.pieces import Content, Guard
from pybuild.registry.progress import Action
from pybuild.registry.reference import Reference
from pybuild.registry.referrers import announce
from pybuild.registry.repository import Repository
from pybuild.registry.sources import Sources
from pybuild.registry.store import Store
from pybuild.registry.stream import Stream
from pybuild.registry.upload import deliver


class RegistryEnd:
    """An image name in a registry. `store` is where to look for repositories to mount from, and to remember uploads."""

    def __init__(
        self, reference: Reference, sources: Sources, *, store: Store | None = None, piece: Guard = contextlib.nullcontext
    ) -> None:
        self.reference = reference
        self.sources = sources
        self._store = store
        self._piece = piece
        self._sent: list[Descriptor] = []

    # As a source

    def root(self) -> Parts:
        """The document that the name means. Raises TransferError, DigestMismatch, InvalidDocument."""
        return self._document(str(self.reference.digest or self.reference.tag))

    def document(self, item: Descriptor) -> Parts:
        """A document by its descriptor. Raises TransferError, DigestMismatch, InvalidDocument."""
        return self._document(str(item.digest))

    def _document(self, name: str) -> Parts:
        content, kind = self.sources.first(lambda repository: repository.manifest(name))
        return Parts.parse(content, kind, self.reference.familiar)

    def fetch(self, blob: Descriptor, sink: Sink, told: Told) -> None:
        """Write a blob's bytes, checked. Raises TransferError, DigestMismatch."""
        with contextlib.closing(Download(blob, sink, told=told)) as download:
            self.sources.first(download.fetch)

    @contextlib.contextmanager
    def content(self, blob: Descriptor) -> Iterator[Content]:
        """A blob's bytes as they come, unchecked. Raises TransferError."""
        with contextlib.closing(_Passing(self.sources, blob)) as passing:
            yield passing

    # As a target

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is there. Raises TransferError."""
        return self.sources.main.has(blob)

    def take(self, blob: Descriptor, source: Source, told: Told) -> Action:
        """Have a blob mounted, or send it. Raises TransferError, DigestMismatch."""
        return deliver(
            self.sources.main,
            blob,
            lambda: source.content(blob),
            origins=self._origins(blob, source),
            store=self._store,
            told=told,
            piece=self._piece,
        )

    def _origins(self, blob: Descriptor, source: Source) -> tuple[str, ...]:
        registry = self.sources.main.client.registry
        known: list[str] = []
        if isinstance(source, RegistryEnd) and source.sources.main.client.registry == registry:
            known.append(source.sources.main.path)
        if self._store is not None:
            known += origins(self._store, blob.digest, registry)
        return tuple(dict.fromkeys(known))

    def put(self, document: Parts) -> None:
        """Take a document by its digest, and tell of it where it refers to another one. Raises TransferError, DigestMismatch."""
        self._put(document, str(document.descriptor.digest))

    def name(self, document: Parts) -> None:
        """Put the document under its tag. Raises TransferError, and InvalidReference for a name by another digest."""
        digest = document.descriptor.digest
        if self.reference.digest not in (None, digest):
            raise InvalidReference(f"cannot put {digest} at {self.reference.familiar}", hint="name a tag")
        self._put(document, str(self.reference.tag or digest))
        if self._store is not None:
            remember(self._store, self.sources.main.name, (blob.digest for blob in self._sent))

    def _put(self, document: Parts, name: str) -> None:
        answer = self.sources.main.put_manifest(document, name)
        announce(self.sources.main, document, answer.headers)
        self._sent += document.blobs


class _Passing:
    """A remote blob, read from front to back; only to go back costs a new request."""

    def __init__(self, sources: Sources, blob: Descriptor) -> None:
        self._sources = sources
        self._blob = blob
        self._mutex = threading.Lock()
        self._opened: contextlib.ExitStack | None = None
        self._stream: Stream | None = None
        self._place = 0

    def read_at(self, offset: int, size: int, /) -> bytes:
        """Up to `size` bytes from `offset` on. Raises SourceFailed, and OutOfTime."""
        with self._mutex:
            pieces: list[bytes] = []
            while size:
                try:
                    content = self._read(offset, size)
                except OutOfTime:
                    raise
                except TransferError as error:
                    # Who sends it on would take it for the fault of where it goes, and begin again.
                    raise SourceFailed(error.message, hint=error.hint) from error
                if not content:
                    break
                pieces.append(content)
                offset += len(content)
                size -= len(content)
            return b"".join(pieces)

    def _read(self, offset: int, size: int) -> bytes:
        patience = self._sources.main.client.patience
        attempt = 0
        while True:
            attempt += 1
            try:
                if self._stream is None or offset != self._place:
                    self._open(offset)
                assert self._stream is not None
                content = self._stream.read(size)
                if not content and offset < self._blob.size:
                    raise BrokenOff(
                        f"{self._sources.main.about(self._blob)}: {offset} of {self._blob.size} bytes came", url=self._stream.url
                    )
            except BrokenOff:
                self.close()
                if attempt >= patience.attempts:
                    raise
                patience.wait(attempt)
            else:
                self._place += len(content)
                return content

    def _open(self, offset: int) -> None:
        self.close()
        self._opened = opened = contextlib.ExitStack()

        def open_at(repository: Repository) -> tuple[Stream, int]:
            return opened.enter_context(repository.opened(self._blob, start=offset))

        self._stream, start = self._sources.first(open_at)
        # A server that knows no ranges starts over.
        while start < offset and (content := self._stream.read(min(1 << 20, offset - start))):
            start += len(content)
        self._place = offset

    def close(self) -> None:
        """Close the connection."""
        if self._opened is not None:
            self._opened.close()
        self._opened = self._stream = None
