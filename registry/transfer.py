"""Whole images between the store and a registry: blobs in parallel, each byte checked, names last.

A pull that fails leaves blobs, no name; a push that fails leaves blobs, no tag: doing it again goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import ExitStack

from pybuild.registry import lazy, media, parallel
from pybuild.registry.config import ImageConfig
from pybuild.registry.digest import Digest
from pybuild.registry.ends import StoredContent
from pybuild.registry.errors import BlobNotFound, InvalidDocument, InvalidReference
from pybuild.registry.growing import Growing, stream
from pybuild.registry.incoming import MakeTap, MakeTaps, check_config, check_layers, diff_ids_of, receive, taking_back, untapped
from pybuild.registry.model import Descriptor, Index, Manifest, is_index
from pybuild.registry.origins import origins, remember, repositories
from pybuild.registry.parallel import Stop, Stopped
from pybuild.registry.platform import Platform
from pybuild.registry.progress import Action, Listener, Transferred, one_at_a_time
from pybuild.registry.reference import Reference
from pybuild.registry.repository import Repository
from pybuild.registry.retries import Patience
from pybuild.registry.sessions import session
from pybuild.registry.sources import Sources
from pybuild.registry.store import Image, Store
from pybuild.registry.upload import Upload, deliver
from pybuild.values import frozen, replace

# No file system has as many layers: overlay takes 500.
_MOST_LAYERS = 1000


@frozen
class Resolved:
    """An image in a registry, for one platform; of its layers nothing was fetched. `raw_config` is the config's bytes."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    raw_config: bytes


def resolve(
    reference: Reference, *, platform: Platform | None = None, insecure: bool = False, patience: Patience | None = None
) -> Resolved:
    """What a name means for a platform (this machine's): its manifest and config.

    Raises TransferError, PlatformNotFound, InvalidDocument and DigestMismatch.
    """
    with Sources(reference, insecure=insecure, patience=patience) as sources:
        return sources.first(lambda repository: _resolve(repository, reference, platform or Platform.here()))


def pull(
    store: Store,
    reference: Reference,
    *,
    platform: Platform | None = None,
    insecure: bool = False,
    listener: Listener | None = None,
    jobs: int = 4,
    patience: Patience | None = None,
    leave_layers: bool = False,
    taps: MakeTaps = lambda diff_ids: untapped,
) -> Image:
    """Fetch an image into the store and tag it; blobs that the store has are not fetched again.

    With `leave_layers` they stay in the registry until somebody needs them (see `lazy`); `taps` give what else wants the bytes.
    Raises TransferError, PlatformNotFound, InvalidDocument and DigestMismatch; the store then has no new name.
    """
    tell, stop = one_at_a_time(listener), Stop()
    with (
        taking_back(store) as fetched,
        store.in_use(),
        Sources(reference, insecure=insecure, patience=patience, connections=jobs) as sources,
    ):
        found = sources.first(lambda repository: _resolve(repository, reference, platform or Platform.here()))
        layers = tuple({layer.digest: layer for layer in found.manifest.layers}.values())
        wanted = () if leave_layers else tuple(layer for layer in layers if layer.media_type not in media.FOREIGN_LAYERS)
        make_tap = taps(diff_ids_of([(found.manifest, found.config)]))
        with ExitStack() as writers:
            tasks = [_fetching(store, sources, layer, tell, stop, writers, make_tap, fetched) for layer in wanted]
            parallel.run(tasks, stop, jobs=jobs, seconds=patience.left if patience else None)
        store.add(found.raw_config, found.manifest.config.media_type)
        store.add(found.manifest.raw, found.manifest.media_type)
        # Before the name: a layer that is not here has to be known to be there.
        remember(store, sources.main.name, (layer.digest for layer in layers))
        store.tag(found.descriptor, reference, is_resolved=True)
    return Image(found.descriptor, found.manifest, found.config)


def push(
    store: Store,
    image: Image,
    reference: Reference,
    *,
    insecure: bool = False,
    listener: Listener | None = None,
    jobs: int = 4,
    patience: Patience | None = None,
    stop: Stop | None = None,
) -> Descriptor:
    """Put an image into a registry under a name, and return its manifest's descriptor. What is there is not sent again.

    Raises TransferError, BlobNotFound, DigestMismatch, InvalidReference for a name by another digest, and Stopped.
    """
    manifest = image.manifest
    descriptor = manifest.descriptor
    if reference.digest and reference.digest != descriptor.digest:
        raise InvalidReference(f"cannot push {descriptor.digest} as {reference.familiar}", hint="push to a tag")
    blobs = {blob.digest: blob for blob in manifest.blobs if blob.media_type not in media.FOREIGN_LAYERS}.values()
    for blob in blobs:
        if not store.has(blob) and not repositories(store, blob.digest):
            raise BlobNotFound(f"blob {blob.digest} is not in the store", hint="build or pull the image again")
    tell, stop = one_at_a_time(listener), stop or Stop()
    actions = ("pull", "push")
    with store.in_use(), Sources(reference, insecure=insecure, patience=patience, connections=jobs, actions=actions) as sources:
        repository = sources.main
        parallel.run(
            [_sending(store, repository, blob, tell, stop) for blob in blobs],
            stop,
            jobs=jobs,
            seconds=patience.left if patience else None,
        )
        stop.check_next()
        repository.put_manifest(manifest, str(reference.tag or descriptor.digest))
        remember(store, repository.name, (blob.digest for blob in blobs))
    return descriptor


def push_index(
    store: Store,
    descriptor: Descriptor,
    reference: Reference,
    *,
    insecure: bool = False,
    listener: Listener | None = None,
    jobs: int = 4,
    patience: Patience | None = None,
    stop: Stop | None = None,
) -> Descriptor:
    """Put an index of the store into a registry under a name, with all that it leads to.

    Raises TransferError, BlobNotFound, Stopped.
    """
    from pybuild.registry.copying import copy
    from pybuild.registry.ends import StoreEnd
    from pybuild.registry.remote import RegistryEnd

    actions = ("pull", "push")
    with store.in_use(), Sources(reference, insecure=insecure, patience=patience, connections=jobs, actions=actions) as sources:
        stop = stop or Stop()
        target = RegistryEnd(reference, sources, store=store, piece=stop.piece)
        return copy(StoreEnd(store, descriptor.digest), target, listener=listener, jobs=jobs, stop=stop)


def push_blob(store: Store, repository: Repository, blob: Descriptor, *, listener: Listener, stop: Stop) -> None:
    """Make sure that a repository has a blob: there already, mounted from another repository, or sent.

    Raises TransferError, DigestMismatch, and Stopped when `stop` is set by another thread.
    """
    if repository.has(blob):
        listener(Transferred("exists", blob.digest.short, blob.size, blob.size))
        return

    def content() -> contextlib.closing[StoredContent]:
        if not store.has(blob):
            # It was left in another registry.
            lazy.fetch(store, blob, patience=repository.client.patience)
        return contextlib.closing(StoredContent(store.path(blob.digest)))

    known = origins(store, blob.digest, repository.client.registry)
    told = _telling("push", blob, listener, stop)
    if deliver(repository, blob, content, origins=known, store=store, told=told, piece=stop.piece) == "mounted":
        listener(Transferred("mounted", blob.digest.short, blob.size, blob.size))


def push_growing(store: Store, repository: Repository, growing: Growing, *, listener: Listener, stop: Stop) -> Descriptor:
    """Send a blob to a repository while it is written to the store, and what is left of it when it is whole; what it is.

    Raises TransferError, DigestMismatch, and Stopped when nothing comes of it, with the upload taken back.
    """
    pieces = stream(repository, growing, stop)
    try:
        blob = growing.blob()
        stop.check()
    except Stopped:
        pieces.abandon()
        raise
    if pieces.location is None or repository.has(blob):
        pieces.abandon()
        push_blob(store, repository, blob, listener=listener, stop=stop)
        return blob
    told = _telling("push", blob, listener, stop)
    told(pieces.offset)
    with session(store, repository.name, blob.digest) as kept:
        pieces.belong_to(subject=repository.about(blob), session=kept, told=told)
        Upload(repository, blob, growing, begun=pieces).send()
    return blob


def _resolve(repository: Repository, reference: Reference, platform: Platform) -> Resolved:
    where = reference.familiar
    content, kind = repository.manifest(str(reference.digest or reference.tag))
    for _ in range(4):
        if not is_index(content, kind, where):
            break
        chosen = Index.parse(content, kind, where).select(platform, where)
        content, kind = repository.manifest(chosen.digest)
    manifest = Manifest.parse(content, kind, where)
    check_config(manifest.config)
    if len(manifest.layers) > _MOST_LAYERS:
        raise InvalidDocument(f"{where}: {len(manifest.layers)} layers", hint=f"no image has more than {_MOST_LAYERS}")
    raw_config = repository.read(manifest.config)
    config = ImageConfig.parse(raw_config, f"{where}: config")
    check_layers(manifest, config, where)
    return Resolved(replace(manifest.descriptor, platform=config.platform), manifest, config, raw_config)


def _fetching(
    store: Store,
    sources: Sources,
    blob: Descriptor,
    tell: Listener,
    stop: Stop,
    writers: ExitStack,
    make_tap: MakeTap,
    fetched: list[Digest],
) -> Callable[[], None]:
    def fetch() -> None:
        if store.has(blob):
            _telling("exists", blob, tell, stop)(blob.size)
            return
        told = _telling("pull", blob, tell, stop)
        receive(store, blob, lambda download: sources.first(download.fetch), writers, told=told, tap=make_tap(blob))
        fetched.append(blob.digest)

    return fetch


def _sending(store: Store, repository: Repository, blob: Descriptor, tell: Listener, stop: Stop) -> Callable[[], None]:
    return lambda: push_blob(store, repository, blob, listener=tell, stop=stop)


def _telling(action: Action, blob: Descriptor, tell: Listener, stop: Stop) -> Callable[[int], None]:
    def told(done: int) -> None:
        stop.check()
        tell(Transferred(action, blob.digest.short, done, blob.size))

    return told
