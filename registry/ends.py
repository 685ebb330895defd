"""The ends of a copy: a repository, the store, and folders that other tools write. Each can give and take.

A source gives documents checked, and blobs as streams; a target takes blobs in any order, then documents, those that others
lead to first, and the name last. Source: image-spec, image-layout.md; containers-transports(5) for `dir:`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from pybuild.hints import BinaryIO, Protocol
from pybuild.registry import layout, lazy
from pybuild.registry.config import ImageConfig
from pybuild.registry.digest import Digest
from pybuild.registry.download import Sink
from pybuild.registry.errors import (
    BlobNotFound,
    DigestMismatch,
    ImageNotFound,
    InvalidDigest,
    InvalidDocument,
    InvalidReference,
    StoreError,
)
from pybuild.registry.incoming import MakeTap, MakeTaps, diff_ids_of, tapped, untapped
from pybuild.registry.model import Descriptor, Index, Manifest
from pybuild.registry.parts import Parts
from pybuild.registry.pieces import Content
from pybuild.registry.progress import Action
from pybuild.registry.reference import Reference
from pybuild.registry.store import LAYOUT, Store
from pybuild.values import replace

Told = Callable[[int], None]

_BLOCK = 1 << 20
_LARGEST_DOCUMENT = 4 << 20


class Source(Protocol):
    """Where a copy comes from."""

    def root(self) -> Parts:
        """The document that the name means."""

    def document(self, item: Descriptor) -> Parts:
        """A document by its descriptor, checked."""

    def fetch(self, blob: Descriptor, sink: Sink, told: Told) -> None:
        """Write a blob's bytes, checked."""

    def content(self, blob: Descriptor) -> AbstractContextManager[Content]:
        """A blob's bytes from any place, unchecked: for a registry, which checks them itself."""


class Target(Protocol):
    """Where a copy goes."""

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is there already."""

    def take(self, blob: Descriptor, source: Source, told: Told) -> Action:
        """Take a blob; what was done."""

    def put(self, document: Parts) -> None:
        """Take a document whose parts are all there."""

    def name(self, document: Parts) -> None:
        """Give the copy its name."""


class StoredContent:
    """A file's bytes. Not hashed here: the registry does, and answers with the digest."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read_at(self, offset: int, size: int, /) -> bytes:
        """Up to `size` bytes from `offset` on."""
        return os.pread(self._file, size, offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class _Files:
    """Blobs and documents as files, whose names are the digests."""

    def _path(self, item: Descriptor) -> Path:
        raise NotImplementedError

    def document(self, item: Descriptor) -> Parts:
        """A document by its descriptor, checked. Raises BlobNotFound, DigestMismatch and InvalidDocument."""
        path = self._path(item)
        if item.size > _LARGEST_DOCUMENT:
            raise InvalidDocument(f"{path}: too large for a document: {item.size} bytes")
        content = self._read(path, item.size + 1)
        if (len(content), Digest.of(content)) != (item.size, item.digest):
            raise DigestMismatch(expected=f"{item.digest}, {item.size} bytes", actual=str(Digest.of(content)), where=str(path))
        return Parts.parse(content, item.media_type, str(path))

    def _read(self, path: Path, size: int) -> bytes:
        with self._opened(path) as file:
            return file.read(size)

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[BinaryIO]:
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed below)
        except FileNotFoundError as error:
            raise BlobNotFound(f"{path} is missing", hint="the copy is not complete: fetch it again") from error
        with file:
            yield file

    def fetch(self, blob: Descriptor, sink: Sink, told: Told) -> None:
        """Write a blob's bytes, checked. Raises BlobNotFound and DigestMismatch."""
        path, digest, done = self._path(blob), hashlib.sha256(), 0
        with self._opened(path) as file:
            while content := file.read(_BLOCK):
                digest.update(content)
                done += len(content)
                sink.write(content)
                told(done)
        if done != blob.size or digest.hexdigest() != blob.digest.hex:
            raise DigestMismatch(
                expected=f"{blob.digest}, {blob.size} bytes", actual=f"sha256:{digest.hexdigest()}, {done} bytes", where=str(path)
            )

    @contextlib.contextmanager
    def content(self, blob: Descriptor) -> Iterator[StoredContent]:
        """A blob's bytes from any place, unchecked."""
        with self._opened(self._path(blob)):
            pass
        with contextlib.closing(StoredContent(str(self._path(blob)))) as content:
            yield content

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is there with its full size."""
        try:
            return self._path(blob).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def take(self, blob: Descriptor, source: Source, told: Told) -> Action:
        """Take a blob. It is there whole, or not at all."""
        with layout.replacing(self._path(blob)) as file:
            source.fetch(blob, _FileSink(file), told)
        return "pull"


class LayoutEnd(_Files):
    """An OCI layout in a folder; `tag` names one image of several."""

    def __init__(self, folder: Path, tag: str | None) -> None:
        self._folder = folder
        self._tag = tag

    def _path(self, item: Descriptor) -> Path:
        return self._folder / "blobs" / "sha256" / item.digest.hex

    def root(self) -> Parts:
        """The image with the tag, or the only one. Raises ImageNotFound and InvalidDocument."""
        return self.document(layout.find(self._folder, self._tag))

    def prepare(self) -> None:
        """Make the folder a layout. Raises StoreError for one that holds something else."""
        if not (self._folder / "oci-layout").exists():
            if self._folder.is_dir() and any(self._folder.iterdir()):
                raise StoreError(f"{self._folder} is not empty, and no OCI layout", hint="name a folder that is not there yet")
            (self._folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            layout.replace_file(self._folder / "index.json", Index.build(()).raw)
            layout.replace_file(self._folder / "oci-layout", LAYOUT)

    def put(self, document: Parts) -> None:
        """Take a document."""
        layout.replace_file(self._path(document.descriptor), document.raw)

    def name(self, document: Parts) -> None:
        """Take the document, and have index.json tell of it; other images stay."""
        self.put(document)
        layout.add_entry(self._folder, document.descriptor, self._tag)


class DirectoryEnd(_Files):
    """What skopeo calls `dir:`: `manifest.json` and the blobs by their bare digests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, item: Descriptor) -> Path:
        return self._folder / item.digest.hex

    def root(self) -> Parts:
        """manifest.json. Raises ImageNotFound and InvalidDocument."""
        path = self._folder / "manifest.json"
        if not path.exists():
            raise ImageNotFound(f"{self._folder} has no manifest.json", hint="is it what `dir:` wrote?")
        return Parts.parse(self._read(path, _LARGEST_DOCUMENT), "", str(path))

    def document(self, item: Descriptor) -> Parts:
        """A document of an index, which has a name of its own."""
        path = self._folder / f"{item.digest.hex}.manifest.json"
        content = self._read(path, _LARGEST_DOCUMENT)
        if Digest.of(content) != item.digest:
            raise DigestMismatch(expected=item.digest, actual=str(Digest.of(content)), where=str(path))
        return Parts.parse(content, item.media_type, str(path))

    def prepare(self) -> None:
        """Make the folder. Raises StoreError for one that holds something else."""
        if self._folder.is_dir() and any(self._folder.iterdir()) and not (self._folder / "version").exists():
            raise StoreError(f"{self._folder} is not empty", hint="name a folder that is not there yet")
        self._folder.mkdir(parents=True, exist_ok=True)
        layout.replace_file(self._folder / "version", b"Directory Transport Version: 1.1\n")

    def put(self, document: Parts) -> None:
        """Take a document that an index leads to."""
        layout.replace_file(self._folder / f"{document.descriptor.digest.hex}.manifest.json", document.raw)

    def name(self, document: Parts) -> None:
        """manifest.json comes last, and only it."""
        layout.replace_file(self._folder / "manifest.json", document.raw)
        (self._folder / f"{document.descriptor.digest.hex}.manifest.json").unlink(missing_ok=True)


class StoreEnd(_Files):
    """An image of pybuild's own store; `taps` look at the layers that come in, and `fetched` gets their digests."""

    def __init__(
        self, store: Store, name: str, *, taps: MakeTaps = lambda diff_ids: untapped, fetched: list[Digest] | None = None
    ) -> None:
        self.store = store
        self._name = name
        self._taps = taps
        self._make_tap: MakeTap = untapped
        self._fetched = fetched if fetched is not None else []

    def _path(self, item: Descriptor) -> Path:
        return Path(self.store.path(item.digest))

    def root(self) -> Parts:
        """The image, or index, of this name or ID. Raises ImageNotFound."""
        with contextlib.suppress(InvalidReference):
            if tagged := self.store.tagged(Reference.parse(self._name)):
                return self.document(tagged)
        try:
            return self.document(self.store.find(self._name).descriptor)
        except ImageNotFound:
            # A platform of an index has no entry of its own.
            with contextlib.suppress(InvalidDigest, FileNotFoundError, InvalidDocument):
                digest = Digest(self._name)
                return self.document(Descriptor("", digest, os.stat(self.store.path(digest)).st_size))
            raise

    def fetch(self, blob: Descriptor, sink: Sink, told: Told) -> None:
        """Write a blob's bytes, checked; one that was left in its registry comes first. Raises BlobNotFound, TransferError."""
        if not self.store.has(blob):
            lazy.fetch(self.store, blob)
        super().fetch(blob, sink, told)

    @contextlib.contextmanager
    def content(self, blob: Descriptor) -> Iterator[StoredContent]:
        """A blob's bytes from any place, unchecked; one that was left in its registry comes first."""
        if not self.store.has(blob):
            lazy.fetch(self.store, blob)
        with super().content(blob) as content:
            yield content

    def expect(self, images: Iterable[tuple[Manifest, ImageConfig]]) -> None:
        """These images are going to come: their layers have to unpack to what the configs say. Raises DiffIdMismatch."""
        self._make_tap = self._taps(diff_ids_of(images))

    def take(self, blob: Descriptor, source: Source, told: Told) -> Action:
        """Take a blob. Raises what the source does, and DiffIdMismatch."""
        with self.store.writer() as writer:
            with tapped(writer, self._make_tap(blob)) as sink:
                source.fetch(blob, sink, told)
            writer.commit(blob.digest)
        self._fetched.append(blob.digest)
        return "pull"

    def put(self, document: Parts) -> None:
        """Take a document."""
        self.store.add(document.raw, document.media_type)

    def name(self, document: Parts) -> None:
        """Take the document, and tag it."""
        self.put(document)
        descriptor = document.descriptor
        if not document.is_index:
            descriptor = replace(descriptor, platform=self.store.image(descriptor).config.platform)
        self.store.tag(descriptor, Reference.parse(self._name))


class _FileSink:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, content: bytes, /) -> None:
        self._file.write(content)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
