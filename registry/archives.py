"""Images in one tar file: what `docker save`, `podman save` and `skopeo copy oci-archive:` write, and what their loaders take.

Written archives are an OCI layout, for docker with its manifest.json beside it, and equal images give equal bytes. What
is read may be either kind, plain or compressed with gzip, bzip2 or xz; nothing of it is trusted: names that leave the
archive are refused, and each blob must have the digest that it goes by. Source: image-spec, image-layout.md; moby,
image/spec/v1.2.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pybuild.hints import IO, TYPE_CHECKING, BinaryIO
from pybuild.registry import layout, media
from pybuild.registry.config import ImageConfig
from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields, dump, load_list
from pybuild.registry.errors import BlobNotFound, DigestMismatch, InvalidDocument, InvalidReference
from pybuild.registry.model import Descriptor, Index, Manifest
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.registry.store import LAYOUT, Image, Store
from pybuild.values import frozen, replace

if TYPE_CHECKING:
    import tarfile

Named = tuple[Image, tuple[Reference, ...]]

_BLOCK = 1 << 20
_LARGEST_DOCUMENT = 16 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OF_LAYOUT = re.compile(r"(blobs/sha256/[0-9a-f]{64}|index\.json|oci-layout)\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")


def save(store: Store, images: Sequence[Named], out: BinaryIO, *, docker: bool) -> None:
    """Write images with their names as one OCI archive; with `docker`, as one that `docker load` takes too.

    `out` need not be seekable. Raises BlobNotFound before anything is written, DigestMismatch for a damaged blob.
    """
    blobs: dict[Digest, Descriptor] = {}
    for image, _ in images:
        for blob in (image.manifest.descriptor, *image.manifest.blobs):
            if not store.has(blob) and blob.media_type not in media.FOREIGN_LAYERS:
                raise BlobNotFound(f"blob {blob.digest} is not in the store", hint="build or pull the image again")
            if store.has(blob):
                blobs[blob.digest] = blob
    _write_directory(out, "blobs/")
    _write_directory(out, "blobs/sha256/")
    for digest in sorted(blobs):
        with store.open_blob(blobs[digest]) as stream:
            _write_file(out, f"blobs/sha256/{digest.hex}", stream, blobs[digest].size)
    entries = tuple(entry for image, names in images for entry in layout.entries(image, names))
    _write_bytes(out, "index.json", Index.build(entries).raw)
    if docker:
        _write_bytes(out, "manifest.json", dump([_docker_entry(image, names) for image, names in images]))
    _write_bytes(out, "oci-layout", LAYOUT)
    out.write(bytes(1024))


def _docker_entry(image: Image, names: Iterable[Reference]) -> dict[str, object]:
    tags = [name.familiar for name in names if name.tag and not name.digest]
    return {
        "Config": f"blobs/sha256/{image.manifest.config.digest.hex}",
        "RepoTags": tags or None,
        "Layers": [f"blobs/sha256/{layer.digest.hex}" for layer in image.manifest.layers],
    }


def _header(name: str, size: int, kind: bytes, mode: int) -> bytes:
    import tarfile

    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.mode = size, kind, mode
    return entry.tobuf(tarfile.PAX_FORMAT)


def _write_directory(out: BinaryIO, name: str) -> None:
    out.write(_header(name, 0, b"5", 0o755))


def _write_file(out: BinaryIO, name: str, stream: BinaryIO, size: int) -> None:
    """One file. The stream is read past its end, which is when a damaged blob shows."""
    out.write(_header(name, size, b"0", 0o644))
    while block := stream.read(_BLOCK):
        out.write(block)
    out.write(bytes(-size % 512))


def _write_bytes(out: BinaryIO, name: str, content: bytes) -> None:
    out.write(_header(name, len(content), b"0", 0o644) + content + bytes(-len(content) % 512))


def load(store: Store, stream: BinaryIO, *, platform: Platform | None = None) -> tuple[Named, ...]:
    """Take all images of an archive into the store, and tag them; of an index, the image for the platform (this machine's).

    `stream` need not be seekable. Raises InvalidDocument, DigestMismatch and PlatformNotFound; the store then has no new name.
    """
    with store.in_use(), _unpacked(store, stream) as contents:
        if "index.json" in contents.files:
            loaded = _load_layout(contents, platform or Platform.here())
        elif "manifest.json" in contents.files:
            loaded = _load_docker(contents)
        else:
            raise InvalidDocument(
                "the archive holds no image", hint="it has neither index.json nor manifest.json: is it a file system's tar?"
            )
        # A name with the digest of something else would be believed: who made the archive may have written anything there.
        loaded = [(image, _honest(image, names)) for image, names in loaded]
        for image, names in loaded:
            store.tag(replace(image.descriptor, platform=image.config.platform), *names)
    return tuple(loaded)


def _honest(image: Image, names: Iterable[Reference]) -> tuple[Reference, ...]:
    return tuple(name for name in names if name.digest in (None, image.descriptor.digest))


@frozen
class _File:
    """A file of the archive, lying in a temporary file of the store."""

    path: str
    digest: Digest
    size: int


class _Contents:
    """What an archive holds, by name. Links have been followed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.files: dict[str, _File] = {}
        self.links: dict[str, str] = {}

    def file(self, name: str) -> _File:
        """A file, or the one that a link of this name leads to. Raises InvalidDocument."""
        seen = 0
        while name in self.links and seen < 8:
            name, seen = self.links[name], seen + 1
        if name not in self.files:
            raise InvalidDocument(f"the archive lacks {name}", hint="it is damaged, or was cut short: save it again")
        return self.files[name]

    def read(self, name: str) -> bytes:
        """The bytes of a document. Raises InvalidDocument when it is missing, or far too large to be one."""
        file = self.file(name)
        if file.size > _LARGEST_DOCUMENT:
            raise InvalidDocument(f"{name} in the archive is too large for a document: {file.size} bytes")
        with open(file.path, "rb") as opened:
            return opened.read()

    def blob(self, blob: Descriptor) -> str:
        """The name of the file with this digest. Raises InvalidDocument and DigestMismatch."""
        name = f"blobs/sha256/{blob.digest.hex}"
        file = self.file(name)
        if (file.digest, file.size) != (blob.digest, blob.size):
            raise DigestMismatch(
                expected=f"{blob.digest}, {blob.size} bytes",
                actual=f"{file.digest}, {file.size} bytes",
                where=f"{name} in the archive",
            )
        return name

    def keep(self, name: str) -> None:
        """Put a file into the store as the blob that it is; another name may need it still, so it is linked."""
        file = self.file(name)
        if not self.store.has(Descriptor("", file.digest, file.size)):
            spare = f"{file.path}.kept"
            os.link(file.path, spare)
            self.store.adopt(spare, file.digest)


@contextlib.contextmanager
def _unpacked(store: Store, stream: BinaryIO) -> Iterator[_Contents]:
    """All files of an archive in temporary files, which are gone afterwards."""
    import lzma
    import tarfile
    import zlib

    contents = _Contents(store)
    try:
        try:
            with tarfile.open(fileobj=stream, mode="r|*", bufsize=_BLOCK) as archive:
                for entry in archive:
                    _take(contents, archive, entry)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise InvalidDocument(
                f"not an image archive: {error}", hint="it should be a tar, plain or compressed with gzip, bzip2 or xz"
            ) from error
        yield contents
    finally:
        for file in contents.files.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.path)


def _take(contents: _Contents, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
    name = _inside(entry.name, entry.name)
    if entry.isdir():
        return
    if entry.issym() or entry.islnk():
        start = os.path.dirname(name) if entry.issym() else ""
        contents.links[name] = _inside(os.path.join(start, entry.linkname), entry.name)
        return
    source = archive.extractfile(entry) if entry.isreg() else None
    if source is None:
        raise InvalidDocument(f"the archive has an entry that is no file: {entry.name!r}")
    if name in contents.files or name in contents.links:
        raise InvalidDocument(f"the archive has two entries named {entry.name!r}")
    contents.files[name] = _spool(contents.store, source)


def _inside(path: str, shown: str) -> str:
    """A path without `.` and `..`. Raises InvalidDocument when it leads out of the archive; `shown` names the entry."""
    name = os.path.normpath(path)
    if name.startswith(("/", "../")) or name == "..":
        raise InvalidDocument(f"the archive has a name that leads out of it: {shown!r}", hint="do not trust where it came from")
    return name


def _spool(store: Store, source: IO[bytes]) -> _File:
    digest, size = hashlib.sha256(), 0
    file, path = store.temporary()
    try:
        with file, open(path, "wb") as buffered:
            while block := source.read(_BLOCK):
                digest.update(block)
                buffered.write(block)
                size += len(block)
    except BaseException:
        os.unlink(path)
        raise
    return _File(path, Digest.from_hex(digest.hexdigest()), size)


def _load_layout(contents: _Contents, platform: Platform) -> list[Named]:
    """The images of index.json; a name that only docker's manifest.json tells is theirs too."""
    index = Index.parse(contents.read("index.json"), media.OCI_INDEX, "index.json in the archive")
    by_config: dict[Digest, tuple[Reference, ...]] = {}
    if "manifest.json" in contents.files:
        for entry in _docker_entries(contents):
            by_config[contents.file(entry.need("Config", str)).digest] = _names(entry.texts("RepoTags"))
    images: dict[Digest, Image] = {}
    names: dict[Digest, list[Reference]] = {}
    for item in index.manifests:
        manifest, config = layout.choose(item, platform, read=lambda blob: contents.read(contents.blob(blob)))
        files = [contents.blob(blob) for blob in manifest.blobs if blob.media_type not in media.FOREIGN_LAYERS]
        for file in (contents.blob(manifest.descriptor), *files):
            contents.keep(file)
        digest = manifest.descriptor.digest
        images[digest] = Image(manifest.descriptor, manifest, config)
        names.setdefault(digest, []).extend((*layout.names(item), *by_config.get(manifest.config.digest, ())))
    return [(image, tuple(dict.fromkeys(names[digest]))) for digest, image in images.items()]


def _load_docker(contents: _Contents) -> list[Named]:
    """The images of docker's manifest.json. Their manifests are made here: such an archive has none."""
    loaded: list[Named] = []
    for entry in _docker_entries(contents):
        config_name = _inside(entry.need("Config", str), "Config")
        config_file = contents.file(config_name)
        stem = os.path.basename(config_name).removesuffix(".json")
        if _HEX.match(stem) and stem != config_file.digest.hex:
            raise DigestMismatch(expected=f"sha256:{stem}", actual=config_file.digest, where=f"{config_name} in the archive")
        config = ImageConfig.parse(contents.read(config_name), f"{config_name} in the archive")
        layer_names = entry.texts("Layers")
        if len(layer_names) != len(config.diff_ids):
            raise InvalidDocument(
                f"{config_name} in the archive tells of {len(config.diff_ids)} layers, there are {len(layer_names)}"
            )
        layers = tuple(
            _docker_layer(contents, _inside(name, "Layers"), diff_id)
            for name, diff_id in zip(layer_names, config.diff_ids, strict=True)
        )
        manifest = Manifest.build(Descriptor(media.OCI_CONFIG, config_file.digest, config_file.size), layers)
        for name in (config_name, *layer_names):
            contents.keep(os.path.normpath(name))
        contents.store.add(manifest.raw, manifest.media_type)
        loaded.append((Image(manifest.descriptor, manifest, config), _names(entry.texts("RepoTags"))))
    return loaded


def _docker_layer(contents: _Contents, name: str, diff_id: Digest) -> Descriptor:
    """A layer, compressed or not. A plain one is checked here, another when it is decompressed: its diffID is of the tar."""
    file = contents.file(name)
    with open(file.path, "rb") as opened:
        start = opened.read(4)
    compression = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "none")
    if compression == "none" and file.digest != diff_id:
        raise DigestMismatch(expected=diff_id, actual=file.digest, where=f"{name} in the archive")
    return Descriptor(media.layer_type(compression), file.digest, file.size)


def _docker_entries(contents: _Contents) -> list[Fields]:
    where = "manifest.json in the archive"
    return [Fields(item, where) for item in load_list(contents.read("manifest.json"), where)]


def _names(texts: Iterable[str]) -> tuple[Reference, ...]:
    try:
        return tuple(Reference.parse(text) for text in texts)
    except InvalidReference as error:
        raise InvalidDocument(f"manifest.json in the archive: {error}", hint=error.hint) from error


def unpack_layout(path: Path, folder: Path) -> None:
    """Lay an OCI archive out as the layout that it holds, in an empty folder. Blobs are not checked: who reads them does.

    Raises InvalidDocument for what is no such archive.
    """
    import lzma
    import tarfile
    import zlib

    (folder / "blobs" / "sha256").mkdir(parents=True)
    try:
        with open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|*", bufsize=_BLOCK) as archive:
            for entry in archive:
                name = os.path.normpath(entry.name)
                if entry.isreg() and _OF_LAYOUT.match(name) and (source := archive.extractfile(entry)):
                    with open(folder / name, "wb") as file:
                        while block := source.read(_BLOCK):
                            file.write(block)
    except FileNotFoundError as error:
        raise InvalidDocument(f"no such file: {path}") from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InvalidDocument(f"{path}: not an image archive: {error}", hint="it should be a tar, perhaps compressed") from error
    if not (folder / "index.json").exists():
        raise InvalidDocument(f"{path} holds no OCI layout", hint="is it a docker-archive?")


def pack_layout(folder: Path, out: BinaryIO) -> None:
    """Write a layout as one OCI archive; equal layouts give equal bytes."""
    _write_directory(out, "blobs/")
    _write_directory(out, "blobs/sha256/")
    for path in (*sorted((folder / "blobs" / "sha256").iterdir()), folder / "index.json", folder / "oci-layout"):
        with open(path, "rb") as file:
            _write_file(out, str(path.relative_to(folder)), file, path.stat().st_size)
    out.write(bytes(1024))
