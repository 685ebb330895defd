"""A copy from one end to another: every blob once, then the documents, those that others lead to first, and the name last.

Source: distribution-spec, "Pushing manifests"; image-spec, image-index.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pybuild.registry import media, parallel
from pybuild.registry.config import ImageConfig
from pybuild.registry.download import InMemory
from pybuild.registry.ends import Source, StoreEnd, Target
from pybuild.registry.incoming import check_config
from pybuild.registry.model import Descriptor, Index, Manifest
from pybuild.registry.parallel import Stop
from pybuild.registry.parts import Parts, walk
from pybuild.registry.platform import Platform
from pybuild.registry.progress import Listener, Transferred, one_at_a_time
from pybuild.registry.referrers import referrers
from pybuild.registry.remote import RegistryEnd


def copy(
    source: Source,
    target: Target,
    *,
    platform: Platform | None = None,
    with_referrers: bool = False,
    listener: Listener | None = None,
    jobs: int = 4,
    seconds: float | None = None,
    stop: Stop | None = None,
) -> Descriptor:
    """Copy what the source's name means: all platforms of an index, or one. With referrers, what refers to it
    too. All blobs together may take `seconds`.

    Raises TransferError, DigestMismatch, InvalidDocument, PlatformNotFound, StoreError; the target has no new name then.
    """
    tell, stop = one_at_a_time(listener), stop or Stop()
    root = source.root()
    for _ in range(4):
        if platform is None or not root.is_index:
            break
        where = str(root.descriptor.digest)
        root = source.document(Index.parse(root.raw, root.media_type, where).select(platform, where))
    documents = list(walk(root, source.document))
    attached = _attached(source, documents) if with_referrers else []
    blobs = {blob.digest: blob for document in (*documents, *attached) for blob in document.blobs}
    for document in documents:
        if document.config is not None:
            check_config(document.config)
    if isinstance(target, StoreEnd):
        target.expect(_images(source, documents))
    wanted = [blob for blob in blobs.values() if blob.media_type not in media.FOREIGN_LAYERS]
    parallel.run([_taking(source, target, blob, tell, stop) for blob in wanted], stop, jobs=jobs, seconds=seconds)
    stop.check_next()
    for document in documents[:-1]:
        target.put(document)
    # By its digest only where nothing else names it: a registry lists it by the tag.
    for document in attached:
        target.put(document)
    target.name(root)
    return root.descriptor


def read_config(source: Source, config: Descriptor) -> ImageConfig:
    """The config of an image at its source. Raises what the source does, and InvalidDocument."""
    check_config(config)
    sink = InMemory()
    source.fetch(config, sink, lambda done: None)
    return ImageConfig.parse(sink.getvalue(), str(config.digest))


def _images(source: Source, documents: list[Parts]) -> Iterator[tuple[Manifest, ImageConfig]]:
    """Those of the documents that are of images."""
    for document in documents:
        if document.config is not None and document.config.media_type in media.CONFIGS:
            manifest = Manifest.parse(document.raw, document.media_type, str(document.descriptor.digest))
            yield manifest, read_config(source, manifest.config)


def _taking(source: Source, target: Target, blob: Descriptor, tell: Listener, stop: Stop) -> Callable[[], None]:
    ended: list[int] = []

    def told(done: int) -> None:
        stop.check()
        if done < blob.size:
            tell(Transferred("push", blob.digest.short, done, blob.size))
        else:
            ended.append(done)

    def take() -> None:
        stop.check()
        action = "exists" if target.has(blob) else target.take(blob, source, told)
        tell(Transferred(action, blob.digest.short, blob.size, blob.size))

    return take


def _attached(source: Source, documents: list[Parts]) -> list[Parts]:
    """What refers to the documents of a registry, and what refers to that; other sources tell of nothing."""
    if not isinstance(source, RegistryEnd):
        return []
    found: dict[str, Parts] = {}
    pending = [document.descriptor.digest for document in documents]
    while pending:
        digest = pending.pop()
        for item in source.sources.first(lambda repository, digest=digest: referrers(repository, digest)):  # type: ignore[misc]
            if item.digest not in found:
                found[item.digest] = source.document(item)
                pending.append(item.digest)
    return [part for document in found.values() for part in walk(document, source.document)]
