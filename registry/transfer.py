"""Whole images between the store and a registry: blobs in parallel, each byte verified, names last."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeVar, cast

from pybuild.registry import media
from pybuild.registry.client import Client
from pybuild.registry.config import ImageConfig
from pybuild.registry.digest import Digest
from pybuild.registry.errors import BlobNotFound, DigestMismatch, NotInRegistry, UnexpectedAnswer, Unreachable
from pybuild.registry.model import Descriptor, Index, Manifest, is_index
from pybuild.registry.platform import Platform
from pybuild.registry.progress import Listener, Transferred
from pybuild.registry.reference import Reference
from pybuild.registry.store import Image, Store

_BLOCK = 1 << 20
_TRIES = 5
_ACCEPT = (*media.MANIFESTS, *media.INDEXES)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image in a registry, for one platform: nothing of its layers has been fetched."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    raw_config: bytes


def _silent(_: Transferred) -> None:
    pass


def resolve(reference: Reference, *, platform: Platform | None = None, insecure: bool = False) -> Resolved:
    """What a name means for a platform (this machine's): manifest and config. Raises TransferError, PlatformNotFound."""
    return _resolve(Client(reference.registry, insecure=insecure), reference, platform or Platform.here())


def _resolve(client: Client, reference: Reference, platform: Platform) -> Resolved:
    content, kind = _manifest(client, reference, str(reference.digest or reference.tag))
    where = reference.familiar
    descriptor = Descriptor.of(content, kind)
    if is_index(content, kind, where):
        chosen = Index.parse(content, kind, where).select(platform, where)
        content, kind = _manifest(client, reference, chosen.digest)
        descriptor = replace(chosen, size=len(content), annotations=())
    manifest = Manifest.parse(content, kind, where)
    descriptor = replace(descriptor, media_type=manifest.media_type)
    raw = b"".join(_blob(client, reference, manifest.config))
    config = ImageConfig.parse(raw, f"{where}: config")
    return Resolved(descriptor, manifest, config, raw)


def _manifest(client: Client, reference: Reference, name: str) -> tuple[bytes, str]:
    content, kind, said = client.document(f"{reference.path}/manifests/{name}", scope=_pull_scope(reference), accept=_ACCEPT)
    actual = Digest.of(content)
    for expected in (name if name.startswith("sha256:") else None, said):
        if expected and expected.startswith("sha256:") and expected != actual:
            raise DigestMismatch(expected=expected, actual=actual, where=f"{reference.familiar}: manifest")
    return content, kind


def pull(
    store: Store,
    reference: Reference,
    *,
    platform: Platform | None = None,
    insecure: bool = False,
    listener: Listener | None = None,
    jobs: int = 4,
) -> Image:
    """Fetch an image into the store and tag it. What the store has is not fetched again.

    Raises TransferError, DigestMismatch, PlatformNotFound; the store then has no new name.
    """
    client = Client(reference.registry, insecure=insecure)
    tell = _serial(listener)
    found = _resolve(client, reference, platform or Platform.here())
    _parallel(jobs, [_Fetch(client, store, reference, layer, tell) for layer in dict.fromkeys(found.manifest.layers)
                     if layer.media_type not in media.FOREIGN_LAYERS])
    store.add(found.raw_config, found.manifest.config.media_type)
    descriptor = store.add(found.manifest.raw, found.manifest.media_type)
    descriptor = replace(descriptor, platform=found.config.platform)
    store.tag(descriptor, reference)
    _remember_origins(store, reference, found.manifest.layers)
    return Image(descriptor, found.manifest, found.config)


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One blob out of the registry into the store."""

    client: Client
    store: Store
    reference: Reference
    blob: Descriptor
    tell: Listener

    def __call__(self) -> None:
        name = self.blob.digest.short
        if self.store.has(self.blob):
            self.tell(Transferred("exists", name, self.blob.size, self.blob.size))
            return
        with self.store.writer() as writer:
            digest = hashlib.sha256()
            for content in _blob(self.client, self.reference, self.blob):
                digest.update(content)
                writer.write(content)
                self.tell(Transferred("pull", name, writer.size, self.blob.size))
            writer.commit(Digest.from_hex(digest.hexdigest()))


def _blob(client: Client, reference: Reference, blob: Descriptor) -> Iterator[bytes]:
    """The bytes of a blob, going on where a connection broke off. Raises DigestMismatch behind the last of them."""
    digest = hashlib.sha256()
    size = 0
    path = f"{reference.path}/blobs/{blob.digest}"
    for left in reversed(range(_TRIES)):
        headers = {"Range": f"bytes={size}-"} if size else {}
        response = client.request("GET", path, scope=_pull_scope(reference), expect=(200, 206), headers=headers, stream=True)
        with response:
            skipped = size if response.status_code == 200 else 0
            try:
                while content := client.read(response, _BLOCK):
                    if skipped:
                        dropped = min(skipped, len(content))
                        skipped -= dropped
                        content = content[dropped:]
                    if size + len(content) > blob.size:
                        raise DigestMismatch(
                            expected=f"{blob.size} bytes", actual="more", where=f"{reference.familiar}: {blob.digest}"
                        )
                    digest.update(content)
                    size += len(content)
                    if content:
                        yield content
            except Unreachable:
                if not left:
                    raise
                continue
        if size >= blob.size:
            break
        if not left:
            raise Unreachable(
                f"{reference.registry} broke off after {size} of {blob.size} bytes", url=client.url(path), hint="try again"
            )
    actual = "sha256:" + digest.hexdigest()
    if size != blob.size or actual != blob.digest:
        raise DigestMismatch(expected=blob.digest, actual=actual, where=f"{reference.familiar}: blob")


def push(
    store: Store,
    image: Image,
    reference: Reference,
    *,
    insecure: bool = False,
    listener: Listener | None = None,
    jobs: int = 4,
) -> Descriptor:
    """Put an image into a registry under a name, blobs first; the manifest's descriptor. Raises TransferError, BlobNotFound."""
    client = Client(reference.registry, insecure=insecure)
    tell = _serial(listener)
    layers = [layer for layer in dict.fromkeys(image.manifest.layers) if layer.media_type not in media.FOREIGN_LAYERS]
    origins = _origins(store)
    _parallel(jobs, [_Put(client, store, reference, blob, tell, tuple(origins.get(blob.digest, ()))) for blob in
                     (*layers, image.manifest.config)])
    manifest = image.manifest
    response = client.request(
        "PUT", f"{reference.path}/manifests/{reference.tag or reference.digest}", scope=_push_scope(reference), expect=(201, 200),
        headers={"Content-Type": manifest.media_type}, body=lambda: manifest.raw,
    )
    digest = manifest.descriptor.digest
    said = response.headers.get("Docker-Content-Digest")
    if said and said != digest:
        raise DigestMismatch(expected=digest, actual=said, where=f"{reference.familiar}: the registry's answer")
    _remember_origins(store, reference, manifest.layers)
    return manifest.descriptor


@dataclass(frozen=True, slots=True)
class _Put:
    """One blob out of the store into the registry."""

    client: Client
    store: Store
    reference: Reference
    blob: Descriptor
    tell: Listener
    origins: tuple[str, ...]

    def __call__(self) -> None:
        scope, digest, size = _push_scope(self.reference), self.blob.digest, self.blob.size
        path = f"{self.reference.path}/blobs"
        response = self.client.request("HEAD", f"{path}/{digest}", scope=scope, expect=(200, 404))
        if response.status_code == 200:
            length = response.headers.get("Content-Length")
            if length is not None and length.isdigit() and int(length) not in (size, 0):
                raise DigestMismatch(expected=f"{size} bytes", actual=length, where=f"{self.reference.registry}: blob {digest}")
            self.tell(Transferred("exists", digest.short, size, size))
            return
        if not self.store.has(self.blob):
            raise BlobNotFound(f"blob {digest} is not in the store", hint="build or pull the image again")
        location = self._begin(path, scope)
        if location is not None:
            self._upload(location, path, scope)

    def _begin(self, path: str, scope: str) -> str | None:
        """Where to upload to; None when the registry could mount the blob from another repository."""
        prefix = f"{self.reference.registry}/"
        origin = next((name.removeprefix(prefix) for name in self.origins
                       if name.startswith(prefix) and name != self.reference.repository), None)
        if origin:
            response = self.client.request(
                "POST", f"{path}/uploads/?mount={self.blob.digest}&from={origin}", scope=f"{scope} repository:{origin}:pull",
                expect=(201, 202, 401, 403, 404, 405),
            )
            if response.status_code == 201:
                self.tell(Transferred("mounted", self.blob.digest.short, self.blob.size, self.blob.size))
                return None
            if response.status_code == 202:
                return self._location(response.headers.get("Location"), response.url)
        response = self.client.request("POST", f"{path}/uploads/", scope=scope, expect=(202,))
        return self._location(response.headers.get("Location"), response.url)

    def _location(self, location: str | None, url: str) -> str:
        if not location:
            raise UnexpectedAnswer(f"{self.reference.registry}: no Location for an upload", url=url, status=202)
        return self.client.url(location)

    def _upload(self, location: str, path: str, scope: str) -> None:
        for left in reversed(range(_TRIES)):
            target = f"{location}{'&' if '?' in location else '?'}digest={self.blob.digest}"
            try:
                response = self.client.request(
                    "PUT", target, scope=scope, expect=(201, 204), body=self._body, tries=1,
                    headers={"Content-Type": "application/octet-stream"},
                )
            except (Unreachable, NotInRegistry, UnexpectedAnswer) as error:
                status = error.status if isinstance(error, UnexpectedAnswer) else 0
                if not left or (status and status < 500 and status not in (408, 416, 429)):
                    raise
                # The old upload is of unknown state: begin anew.
                response = self.client.request("POST", f"{path}/uploads/", scope=scope, expect=(202,))
                location = self._location(response.headers.get("Location"), response.url)
                continue
            said = response.headers.get("Docker-Content-Digest")
            if said and said != self.blob.digest:
                raise DigestMismatch(expected=self.blob.digest, actual=said, where=f"{self.reference.registry}: the answer to an upload")
            return

    def _body(self) -> bytes | BinaryIO:
        if not self.blob.size:
            return b""
        return cast(BinaryIO, _Reporting(self.store.path(self.blob.digest), self.blob, self.tell))


class _Reporting:
    """A blob's file that tells how far it was read; its length is known to the HTTP client."""

    def __init__(self, path: str, blob: Descriptor, tell: Listener) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (the HTTP client reads it to its end)
        self._blob = blob
        self._tell = tell
        self._done = 0

    def __len__(self) -> int:
        return self._blob.size - self._done

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(max(size, _BLOCK) if size >= 0 else -1)
        self._done += len(content)
        if content:
            self._tell(Transferred("push", self._blob.digest.short, self._done, self._blob.size))
        if self._done >= self._blob.size:
            self._file.close()
            self.read = self._at_end  # type: ignore[method-assign]
        return content

    def _at_end(self, size: int = -1) -> bytes:
        return b""


def _pull_scope(reference: Reference) -> str:
    return f"repository:{reference.path}:pull"


def _push_scope(reference: Reference) -> str:
    return f"repository:{reference.path}:pull,push"


def _serial(listener: Listener | None) -> Listener:
    if listener is None:
        return _silent
    mutex = threading.Lock()
    told = listener

    def tell(event: Transferred) -> None:
        with mutex:
            told(event)

    return tell


def _parallel(jobs: int, tasks: Iterable[Callable[[], None]]) -> None:
    """Run tasks at the same time; the first error ends the rest."""
    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        futures = [pool.submit(task) for task in tasks]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# Where layers came from: what a registry can mount instead of receiving it again.


def _origins(store: Store) -> dict[str, list[str]]:
    try:
        found = json.loads((store.root / "origins.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember_origins(store: Store, reference: Reference, layers: Iterable[Descriptor]) -> None:
    with _editing_origins(store) as origins:
        for layer in layers:
            known = origins.setdefault(layer.digest, [])
            if reference.repository not in known:
                known.append(reference.repository)


@contextmanager
def _editing_origins(store: Store) -> Iterator[dict[str, list[str]]]:
    with store.lock("origins", exclusive=True):
        origins = _origins(store)
        yield origins
        path = store.root / f"tmp/origins.{os.getpid()}"
        path.write_text(json.dumps(origins))
        os.replace(path, store.root / "origins.json")


