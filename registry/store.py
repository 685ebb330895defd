"""The content store: a valid OCI image layout, read by other tools as it lies.

Blobs are written to a temporary file, checked, and renamed; the same blob written twice is the same file. Tags are the
annotations of index.json. It does not know what is cached or in use: who deletes must hold the store's lock
exclusively. Nothing is fsynced: a blob that a power loss cut short has another size than its descriptor, so it is not
there, and what is read is checked. Source: image-spec, image-layout.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from types import TracebackType

from pybuild.hints import BinaryIO, Self
from pybuild.registry import media
from pybuild.registry.config import ImageConfig
from pybuild.registry.digest import Digest
from pybuild.registry.errors import (
    REPAIR,
    AmbiguousName,
    BlobNotFound,
    DigestMismatch,
    ImageNotFound,
    InvalidDocument,
    InvalidReference,
    PlatformNotFound,
    StoreError,
    UnsupportedMediaType,
)
from pybuild.registry.model import REF_NAME, Descriptor, Index, Manifest, is_index
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.values import frozen, replace

# What a store has in it, whoever made it.
_RECORDS = {"origins.json", "uploads.json", "uploads", "lists.json", "referrers.json", "pushed.json"}
_OWN = {"blobs", "index.json", "oci-layout", "tmp", "locks", "trees", "caches", *_RECORDS} | {
    f"pybuild.db{ending}" for ending in ("", "-wal", "-shm", ".new", ".new-wal", ".new-shm")
}
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@frozen
class Image:
    """An image in the store: what index.json points at, and the manifest and config behind it."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig

    @property
    def id(self) -> Digest:
        """The image ID: the digest of the config."""
        return self.manifest.config.digest


class BlobWriter:
    """A blob that is being written. Nothing of it is in the store before `commit`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file, self.path = store.temporary()
        self.size = 0

    def write(self, content: bytes | memoryview) -> int:
        """Append bytes, all of them. The caller hashes them: it often has to anyway, on another thread."""
        size = len(content)
        written = self._file.write(content)
        # A disk that fills up takes a part first, and says so only when asked to take the rest.
        while written < size:
            written += self._file.write(memoryview(content)[written:])
        self.size += size
        return size

    def restart(self) -> None:
        """Forget all bytes so far."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0

    def commit(self, digest: Digest) -> None:
        """Put the bytes into the store as `digest`, which the caller has computed from them."""
        self._file.close()
        self._store.adopt(self.path, digest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class Store:
    """Blobs and tags under one folder. Safe for several processes at once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._blobs = f"{root}/blobs/sha256/"
        self._index = f"{root}/index.json"
        self._read: Index | None = None

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> Store:
        """The store in this folder, made when there is none. Raises StoreError when the folder is something else."""
        root = os.fspath(root)
        layout, index = f"{root}/oci-layout", f"{root}/index.json"
        if not os.path.exists(layout) or not os.path.exists(f"{root}/locks"):
            try:
                os.makedirs(root, mode=0o700, exist_ok=True)
                # Names with a dot in front are those of other processes, which make the store just now.
                foreign = {name for name in os.listdir(root) if not name.startswith(".")} - _OWN
                if foreign and not os.path.exists(layout):
                    raise StoreError(
                        f"{root} is no store: it holds {min(foreign)}",
                        hint="set PYBUILD_ROOT, or --root, to a folder for pybuild alone",
                    )
                for name in ("blobs/sha256", "tmp", "locks", "trees"):
                    os.makedirs(f"{root}/{name}", exist_ok=True)
                with cls(root).lock("index", exclusive=True):
                    # Of several processes that make the store at once, one does: the others may have tagged already.
                    if not os.path.exists(index):
                        _replace(index, Index.build(()).raw)
                    if not os.path.exists(layout):
                        _replace(layout, LAYOUT)
            except (PermissionError, NotADirectoryError, FileExistsError, FileNotFoundError) as error:
                raise StoreError(
                    f"cannot make a store in {root}: {error.strerror}", hint="set PYBUILD_ROOT to a folder of yours"
                ) from error
        return cls(root)

    # Blobs

    def path(self, digest: Digest) -> str:
        """Where a blob lies, or would."""
        return self._blobs + digest.hex

    def has(self, blob: Descriptor) -> bool:
        """Whether the blob is there with its full size."""
        try:
            return os.stat(self.path(blob.digest)).st_size == blob.size
        except FileNotFoundError:
            return False

    def _holds(self, blob: Descriptor, content: bytes) -> bool:
        try:
            with open(self.path(blob.digest), "rb", buffering=0) as file:
                return file.read() == content
        except FileNotFoundError:
            return False

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """A blob's bytes, verified as they are read: the last read raises DigestMismatch when they are damaged.

        Raises BlobNotFound on entry.
        """
        from pybuild.registry.verifying import VerifiedReader

        return VerifiedReader(self._open(blob), blob)  # type: ignore[return-value]

    def read(self, blob: Descriptor) -> bytes:
        """All bytes of a small blob, verified. Raises BlobNotFound and DigestMismatch."""
        with self._open(blob) as file:
            content = file.read(blob.size + 1)
        check(blob, len(content), Digest.of(content))
        return content

    def _open(self, blob: Descriptor) -> BinaryIO:
        try:
            return open(self.path(blob.digest), "rb", buffering=0)
        except FileNotFoundError:
            raise BlobNotFound(f"blob {blob.digest} is not in the store", hint="pull or build the image again") from None

    def add(self, content: bytes, media_type: str) -> Descriptor:
        """Put a small blob into the store. Idempotent; one that is there and damaged is put right."""
        blob = Descriptor.of(content, media_type)
        if not self._holds(blob, content):
            with self.writer() as writer:
                writer.write(content)
                writer.commit(blob.digest)
        return blob

    def writer(self) -> BlobWriter:
        """A new blob of a digest that is not known yet; a context manager."""
        return BlobWriter(self)

    def temporary(self) -> tuple[BinaryIO, str]:
        """A new file inside the store, to be renamed or removed by the caller."""
        path = f"{self.root}/tmp/{os.urandom(12).hex()}"
        return open(path, "x+b", buffering=0, opener=private), path

    def adopt(self, path: str, digest: Digest) -> None:
        """Rename a finished temporary file to the blob that it is."""
        os.chmod(path, 0o644)
        os.replace(path, self.path(digest))

    def delete(self, digest: Digest) -> int:
        """Remove a blob; its size in bytes, 0 if there was none."""
        try:
            size = os.stat(self.path(digest)).st_size
            os.unlink(self.path(digest))
        except FileNotFoundError:
            return 0
        return size

    def blobs(self) -> tuple[Digest, ...]:
        """The digests of all blobs."""
        return tuple(Digest.from_hex(name) for name in sorted(os.listdir(self._blobs)) if len(name) == 64)

    # Tags

    def index(self) -> Index:
        """index.json as it is now."""
        with open(self._index, "rb", buffering=0) as file:
            content = file.read()
        # One build looks for its base and sets its tag, and there may be hundreds of images.
        if self._read is None or self._read.raw != content:
            try:
                self._read = Index.parse(content, media.OCI_INDEX, self._index)
            except InvalidDocument as error:
                error.hint = REPAIR
                raise
        return self._read

    def tagged(self, reference: Reference) -> Descriptor | None:
        """The manifest with this tag, or of this digest."""
        for item in self.index().manifests:
            # A name with the digest of an index is tagged as it is: the entry's digest is the chosen manifest's.
            if item.annotation(REF_NAME) == str(reference) or item.digest == reference.digest:
                return item
        return None

    def tag(self, manifest: Descriptor, *names: Reference, is_resolved: bool = False) -> None:
        """Make an image known under these names, which leave the images that had them; with none, as untagged.

        An image that loses its last name stays, untagged. A digest in a name is the manifest's: what is named so is believed by
        whoever asks for it. Only with `is_resolved` it may be that of an index, in which the manifest was found. Raises
        InvalidReference.
        """
        for name in names:
            if name.digest is not None and name.digest != manifest.digest and not is_resolved:
                raise InvalidReference(f"{name.familiar}: the image is {manifest.digest}", hint="name it by a tag")
        with self._editing() as items:
            texts = {str(name) for name in names}
            plain = replace(manifest, annotations=())
            displaced = [item for item in items if item.annotation(REF_NAME) in texts and item.digest != manifest.digest]
            items[:] = [item for item in items if item.annotation(REF_NAME) not in texts]
            items.extend(replace(plain, annotations=((REF_NAME, text),)) for text in sorted(texts))
            for item in (*displaced, plain):
                if all(other.digest != item.digest for other in items):
                    items.append(replace(item, annotations=()))
            named = {item.digest for item in items if item.annotations}
            items[:] = [item for item in items if item.annotations or item.digest not in named]

    def put_index(self, index: Index) -> None:
        """Put another index.json in place of the one that is there, as after damage."""
        with self.lock("index", exclusive=True):
            _replace(self._index, index.raw)

    def untag(self, name: Reference) -> Descriptor | None:
        """Take one name away, and the image's entry with it when that was the last; the descriptor it named."""
        with self._editing() as items:
            for item in items:
                if item.annotation(REF_NAME) == str(name):
                    items.remove(item)
                    return item
        return None

    def forget(self, manifest: Digest) -> None:
        """Take all entries of a manifest out of index.json."""
        with self._editing() as items:
            items[:] = [item for item in items if item.digest != manifest]

    def names(self, manifest: Digest) -> tuple[Reference, ...]:
        """All names of a manifest."""
        found = (item.annotation(REF_NAME) for item in self.index().manifests if item.digest == manifest)
        return tuple(name for text in found if text and (name := _reference(text)))

    # Images

    def image(self, descriptor: Descriptor, platform: Platform | None = None) -> Image:
        """The manifest and config behind a descriptor; of an index, the one for the platform.

        Without a platform it is this machine's, else the first that is here.
        """
        where = str(descriptor.digest)
        content = self.read(descriptor)
        if is_index(content, descriptor.media_type, where):
            index = Index.parse(content, descriptor.media_type, where)
            try:
                chosen = index.select(platform or Platform.here(), where)
            except PlatformNotFound:
                here = [item for item in index.manifests if self.has(item)]
                if platform is not None or not here:
                    raise
                chosen = here[0]
            return replace(self.image(chosen), descriptor=descriptor)
        manifest = Manifest.parse(content, descriptor.media_type, where)
        try:
            config = ImageConfig.parse(self.read(manifest.config), str(manifest.config.digest))
        except InvalidDocument as error:
            error.hint = REPAIR
            raise
        return Image(descriptor, manifest, config)

    def images(self) -> tuple[Image, ...]:
        """Every image, each manifest once. Artifacts, which may have names too, are none."""
        found = []
        for item in {item.digest: item for item in self.index().manifests}.values():
            with contextlib.suppress(UnsupportedMediaType):
                found.append(self.image(item))
        return tuple(found)

    def find(self, name: str) -> Image:
        """An image by name, by ID, or by a part of its ID, with or without `sha256:`.

        Raises ImageNotFound and AmbiguousName.
        """
        with contextlib.suppress(InvalidReference):
            if descriptor := self.tagged(Reference.parse(name)):
                return self.image(descriptor)
        prefix = name.removeprefix("sha256:")
        if prefix and all(digit in "0123456789abcdef" for digit in prefix):
            found = [
                image
                for image in self.images()
                if image.id.hex.startswith(prefix) or (len(prefix) == 64 and image.descriptor.digest.hex == prefix)
            ]
            if len({image.id for image in found}) > 1:
                raise AmbiguousName(f"{name}: fits {len(found)} images", hint="give more digits of the ID")
            if found:
                return found[0]
        raise ImageNotFound(f"no such image: {name}", hint="'pybuild images' lists what is here; 'pybuild pull' fetches")

    @contextlib.contextmanager
    def _editing(self) -> Iterator[list[Descriptor]]:
        with self.lock("index", exclusive=True):
            items = list(self.index().manifests)
            before = list(items)
            yield items
            if items != before:
                from pybuild.registry import earlier

                earlier.keep(self.root, self._index)
                _replace(self._index, Index.build(tuple(items)).raw)

    def in_use(self) -> contextlib.AbstractContextManager[bool]:
        """Keep blobs from being deleted: whoever deletes must hold the lock `build` exclusively."""
        return self.lock("build", exclusive=False)

    @contextlib.contextmanager
    def lock(self, name: str, *, exclusive: bool, blocking: bool = True) -> Iterator[bool]:
        """Hold one of the store's locks, shared or exclusive; False, without waiting, when it is not to be had."""
        with open(f"{self.root}/locks/{name}", "a") as file:
            mode = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if blocking else fcntl.LOCK_NB)
            try:
                fcntl.flock(file, mode)
            except BlockingIOError:
                yield False
                return
            yield True


def check(blob: Descriptor, size: int, digest: str) -> None:
    """Raise DigestMismatch when what was read of the store is not what it should be."""
    if size != blob.size:
        raise DigestMismatch(expected=f"{blob.size} bytes", actual=f"{size}", where=str(blob.digest), hint=REPAIR)
    if digest != blob.digest:
        raise DigestMismatch(expected=blob.digest, actual=digest, where=str(blob.digest), hint=REPAIR)


def private(path: str, flags: int) -> int:
    """Open a file that its owner alone may read: an `opener`."""
    return os.open(path, flags, 0o600)


def _replace(path: str, content: bytes) -> None:
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(content)
    os.replace(temporary, path)


def _reference(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None
