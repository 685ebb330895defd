"""OCI image layouts in folders of the user's: one image taken from there, or written there.

Reads what any tool wrote and checks each byte; writes beside the images that are there. Source: image-spec, image-layout.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pybuild.hints import BinaryIO
from pybuild.registry import media
from pybuild.registry.config import ImageConfig
from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields, load
from pybuild.registry.errors import BlobNotFound, DigestMismatch, ImageNotFound, InvalidDocument, InvalidReference, StoreError
from pybuild.registry.model import REF_NAME, Descriptor, Index, Manifest, is_index
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.registry.store import LAYOUT, Image, Store
from pybuild.values import replace

# The whole name; REF_NAME holds the tag alone, as BuildKit, docker and skopeo write it.
FULL_NAME = "io.containerd.image.name"

_BLOCK = 1 << 20
_LARGEST_DOCUMENT = 16 << 20


def read_layout(
    store: Store, place: str | os.PathLike[str], name: str | None = None, *, platform: Platform | None = None
) -> Image:
    """Take one image of a layout into the store, untagged; of an index, the one for the platform (this machine's).

    `name` is a tag, a whole name or a digest; None means the only image, or the one tagged `latest`. Raises ImageNotFound,
    InvalidDocument, DigestMismatch and PlatformNotFound.
    """
    directory = Path(place)
    item = find(directory, name)
    manifest, config = choose(item, platform or Platform.here(), read=lambda blob: _read_document(directory, blob))
    for blob in manifest.blobs:
        if blob.media_type not in media.FOREIGN_LAYERS or _path(directory, blob.digest).exists():
            _copy_in(store, directory, blob)
    store.add(manifest.raw, manifest.media_type)
    return Image(manifest.descriptor, manifest, config)


def write_layout(store: Store, image: Image, names: Iterable[Reference], directory: Path) -> None:
    """Write an image to a layout, made when there is none; images of other names stay.

    Raises StoreError for a folder that holds something else, BlobNotFound, and DigestMismatch for a damaged blob.
    """
    present: tuple[Descriptor, ...] = ()
    if (directory / "oci-layout").exists():
        present = _read_index(directory).manifests
    elif directory.is_dir() and any(directory.iterdir()):
        raise StoreError(f"{directory} is not empty, and no OCI layout", hint="name a folder that is not there yet")
    (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    for blob in (image.manifest.descriptor, *image.manifest.blobs):
        if store.has(blob) or blob.media_type not in media.FOREIGN_LAYERS:
            _copy_out(store, blob, _path(directory, blob.digest))
    added = entries(image, tuple(names))
    keys = {key for item in added if (key := _key(item))}
    digests = {item.digest for item in added}
    kept = tuple(item for item in present if _key(item) not in keys and (_key(item) or item.digest not in digests))
    replace_file(directory / "index.json", Index.build((*kept, *added)).raw)
    replace_file(directory / "oci-layout", LAYOUT)


def entries(image: Image, names: Iterable[Reference]) -> tuple[Descriptor, ...]:
    """What index.json says of an image: one entry a name, one without a name when there is none."""
    plain = replace(image.manifest.descriptor, platform=image.config.platform)
    named = []
    for name in dict.fromkeys(names):
        tag = ((REF_NAME, name.tag),) if name.tag else ()
        named.append(replace(plain, annotations=((FULL_NAME, str(name)), *tag)))
    return tuple(named) or (plain,)


def add_entry(directory: Path, item: Descriptor, tag: str | None) -> None:
    """Have index.json tell of a manifest or index, under a tag that leaves what had it."""
    added = replace(item, annotations=((REF_NAME, tag),) if tag else ())
    kept = [
        entry
        for entry in _read_index(directory).manifests
        if (entry.annotation(REF_NAME) != tag if tag else entry.annotation(REF_NAME) or entry.digest != item.digest)
    ]
    replace_file(directory / "index.json", Index.build((*kept, added)).raw)


def names(item: Descriptor) -> tuple[Reference, ...]:
    """The image names that an entry of index.json tells; a tag alone is no name."""
    text = item.annotation(FULL_NAME) or item.annotation(REF_NAME) or ""
    if not any(mark in text for mark in ":/@"):
        return ()
    try:
        return (Reference.parse(text),)
    except InvalidReference:
        return ()


def choose(item: Descriptor, platform: Platform, *, read: Callable[[Descriptor], bytes]) -> tuple[Manifest, ImageConfig]:
    """The manifest and config behind an entry, through as many indexes as there are; `read` gives a document's checked bytes.

    Raises PlatformNotFound and InvalidDocument.
    """
    for _ in range(4):
        where = str(item.digest)
        content = read(item)
        if not is_index(content, item.media_type, where):
            manifest = Manifest.parse(content, item.media_type, where)
            config = ImageConfig.parse(read(manifest.config), str(manifest.config.digest))
            if len(config.diff_ids) != len(manifest.layers):
                raise InvalidDocument(
                    f"{where}: {len(manifest.layers)} layers, but the config has {len(config.diff_ids)} diff_ids"
                )
            return manifest, config
        item = Index.parse(content, item.media_type, where).select(platform, where)
    raise InvalidDocument(f"{where}: indexes within indexes within indexes")


def _key(item: Descriptor) -> tuple[str | None, str | None] | None:
    key = (item.annotation(FULL_NAME), item.annotation(REF_NAME))
    return key if any(key) else None


def _path(directory: Path, digest: Digest) -> Path:
    return directory / "blobs" / "sha256" / digest.hex


def _read_index(directory: Path) -> Index:
    try:
        version = Fields(load((directory / "oci-layout").read_bytes(), f"{directory}/oci-layout"), f"{directory}/oci-layout")
        if version.get("imageLayoutVersion", str, "").partition(".")[0] != "1":
            raise InvalidDocument(f"{directory}/oci-layout: unknown version")
        return Index.parse((directory / "index.json").read_bytes(), media.OCI_INDEX, f"{directory}/index.json")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidDocument(f"{directory} is no OCI layout: it has no {Path(str(error.filename)).name}") from error
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error


def find(directory: Path, name: str | None) -> Descriptor:
    """The entry of a tag, a whole name or a digest; for None the only one, or `latest`. Raises ImageNotFound, InvalidDocument."""
    items = _read_index(directory).manifests
    if name is None:
        if len({item.digest for item in items}) == 1:
            return items[0]
        name = "latest"
        wanted = "its only image"
    else:
        wanted = name
    for item in items:
        if name in (item.annotation(REF_NAME), item.annotation(FULL_NAME), item.digest):
            return item
    found = sorted({item.annotation(REF_NAME) or item.digest for item in items})
    raise ImageNotFound(f"{directory}: no image {wanted!r}", hint=f"it has {', '.join(found) or 'none at all'}")


def _read_document(directory: Path, blob: Descriptor) -> bytes:
    if blob.size > _LARGEST_DOCUMENT:
        raise InvalidDocument(f"{directory}: {blob.digest} is too large for a document: {blob.size} bytes")
    path = _path(directory, blob.digest)
    try:
        with open(path, "rb") as file:
            content = file.read(blob.size + 1)
    except OSError as error:
        raise BlobNotFound(f"{path}: {error.strerror}", hint="the layout is not complete: write it again") from error
    if (len(content), Digest.of(content)) != (blob.size, blob.digest):
        raise DigestMismatch(expected=f"{blob.digest}, {blob.size} bytes", actual=str(Digest.of(content)), where=str(path))
    return content


def _copy_in(store: Store, directory: Path, blob: Descriptor) -> None:
    if store.has(blob):
        return
    path = _path(directory, blob.digest)
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as source, store.writer() as writer:
            while content := source.read(_BLOCK):
                digest.update(content)
                writer.write(content)
            if writer.size != blob.size or digest.hexdigest() != blob.digest.hex:
                raise DigestMismatch(
                    expected=f"{blob.digest}, {blob.size} bytes", actual=f"sha256:{digest.hexdigest()}", where=str(path)
                )
            writer.commit(blob.digest)
    except FileNotFoundError as error:
        raise BlobNotFound(f"{path}: {error.strerror}", hint="the layout is not complete: write it again") from error


def _copy_out(store: Store, blob: Descriptor, path: Path) -> None:
    """A copy, not a hard link: a file that the user owns must not be the store's."""
    if path.exists() and path.stat().st_size == blob.size:
        return
    with store.open_blob(blob) as source, replacing(path) as file:
        while content := source.read(_BLOCK):
            file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to be written: at `path` is what was there, or, once the block has ended well, all of the new one."""
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that the user has named, complete or as it was; a device, a pipe or what a link leads to is written as it comes.

    Root would else put a file in the place of /dev/stdout, or of /dev/null.
    """
    if not path.is_symlink() and (path.is_file() or not path.exists()):
        with replacing(path) as file:
            yield file
        return
    with open(path, "wb") as file:
        yield file


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file in place of the one that is there, at once."""
    with replacing(path) as file:
        file.write(content)
