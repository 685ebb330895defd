"""A blob on its way from a registry into the store, and past what else wants its bytes while they come: read once.

What is fetched here is the whole blob or nothing. Whether a layer unpacks to what its image's config says, a tap finds out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack

from pybuild.hints import Protocol
from pybuild.registry.config import ImageConfig
from pybuild.registry.digest import Digest
from pybuild.registry.download import Download, Sink
from pybuild.registry.errors import DiffIdMismatch, InvalidDocument
from pybuild.registry.model import Descriptor, Manifest
from pybuild.registry.parts import reachable
from pybuild.registry.store import Store

_LARGEST_CONFIG = 8 << 20


class Tap(Protocol):
    """Gets a blob's bytes as they come in, beside the store."""

    def write(self, content: bytes, /) -> object:
        """The next bytes."""

    def restart(self) -> None:
        """Forget all bytes so far."""

    def finish(self) -> None:
        """The blob is whole. Raises when it may not be kept all the same: DiffIdMismatch, for one."""

    def close(self) -> None:
        """No more comes."""


MakeTap = Callable[[Descriptor], Tap | None]
# From the diffIDs of layers, by the digests of their blobs.
MakeTaps = Callable[[Mapping[Digest, Digest]], MakeTap]


def untapped(blob: Descriptor) -> None:
    """Nobody else wants the bytes."""


class _Tapped:
    """A sink whose bytes go to a tap, too."""

    def __init__(self, sink: Sink, tap: Tap) -> None:
        self._sink = sink
        self._tap = tap

    def write(self, content: bytes, /) -> None:
        self._sink.write(content)
        self._tap.write(content)

    def restart(self) -> None:
        self._sink.restart()
        self._tap.restart()


@contextlib.contextmanager
def tapped(sink: Sink, tap: Tap | None) -> Iterator[Sink]:
    """The sink, with the tap beside it, which says at the end of the block whether the bytes may be kept. Raises what it does."""
    if tap is None:
        yield sink
        return
    with contextlib.closing(tap):
        yield _Tapped(sink, tap)
        tap.finish()


def receive(
    store: Store,
    blob: Descriptor,
    get: Callable[[Download], None],
    writers: ExitStack,
    *,
    told: Callable[[int], None],
    tap: Tap | None = None,
) -> None:
    """Fetch a blob by `get`, into the store. Raises what `get` and the tap do.

    Temporary files are removed with `writers`, which is another thread's: one that waits for a silent registry is not waited for.
    """
    writer = writers.enter_context(store.writer())
    with tapped(writer, tap) as sink, contextlib.closing(Download(blob, sink, told=told)) as download:
        get(download)
    writer.commit(blob.digest)


@contextlib.contextmanager
def taking_back(store: Store) -> Iterator[list[Digest]]:
    """For the blobs that come in within the block: none of them stays when an image lies, unless others may be using it."""
    fetched: list[Digest] = []
    try:
        yield fetched
    except DiffIdMismatch:
        with store.lock("build", exclusive=True, blocking=False) as is_alone:
            if is_alone and fetched:
                needed = {blob.digest for entry in store.index().manifests for blob in reachable(store, entry)}
                for digest in fetched:
                    if digest not in needed:
                        store.delete(digest)
        raise


def diff_ids_of(images: Iterable[tuple[Manifest, ImageConfig]]) -> dict[Digest, Digest]:
    """What each layer of these images has to unpack to. Raises InvalidDocument, and DiffIdMismatch when two do not agree."""
    found: dict[Digest, Digest] = {}
    for manifest, config in images:
        check_layers(manifest, config, str(manifest.descriptor.digest))
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if found.setdefault(layer.digest, diff_id) != diff_id:
                raise DiffIdMismatch(expected=found[layer.digest], actual=diff_id, layer=layer.digest)
    return found


def check_config(config: Descriptor) -> None:
    """Raise InvalidDocument for a config that is too large to be one."""
    if config.size > _LARGEST_CONFIG:
        raise InvalidDocument(f"{config.digest}: a config of {config.size} bytes", hint=f"at most {_LARGEST_CONFIG} are taken")


def check_layers(manifest: Manifest, config: ImageConfig, where: str) -> None:
    """Raise InvalidDocument when a config tells of more or fewer layers than its manifest has."""
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidDocument(f"{where}: {len(manifest.layers)} layers, but the config has {len(config.diff_ids)} diff_ids")
