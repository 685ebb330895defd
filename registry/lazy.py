"""Layers that were left in their registry: an image is at hand when its config is here, and it is known where the rest is.

A build that reads nothing of its base moves none of the base's layers, and a push back to the same registry mounts them. Whoever
needs the bytes says so by `complete`. Source: image-spec, image-layout.md, "Blobs" (a layout may lack blobs that lie elsewhere).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from pybuild.hints import TYPE_CHECKING
from pybuild.registry import media
from pybuild.registry.errors import BlobNotFound, RegistryError
from pybuild.registry.model import Descriptor
from pybuild.registry.progress import Listener, Transferred, one_at_a_time
from pybuild.registry.reference import Reference
from pybuild.registry.store import Image, Store

if TYPE_CHECKING:
    # A build that changes nothing asks only what is absent.
    from pybuild.registry.download import Download
    from pybuild.registry.incoming import MakeTap
    from pybuild.registry.parallel import Stop
    from pybuild.registry.retries import Patience


def absent(store: Store, image: Image) -> tuple[Descriptor, ...]:
    """The layers of an image that are not in the store, each once."""
    found = {layer.digest: layer for layer in image.manifest.layers if layer.media_type not in media.FOREIGN_LAYERS}
    return tuple(layer for layer in found.values() if not store.has(layer))


def is_at_hand(store: Store, image: Image) -> bool:
    """Whether each layer is in the store, or it is known which registry has it."""
    layers = absent(store, image)
    if not layers:
        return True
    from pybuild.registry.origins import repositories

    return all(repositories(store, layer.digest) for layer in layers)


def complete(
    store: Store,
    image: Image,
    *,
    insecure: bool = False,
    listener: Listener | None = None,
    jobs: int = 4,
    patience: Patience | None = None,
    tap: MakeTap = lambda blob: None,
) -> None:
    """Fetch the layers that were left in a registry; `tap` gives what else wants a layer's bytes as they come.

    Raises BlobNotFound for a layer that nobody is known to have, TransferError, DigestMismatch. An image that lies is forgotten.
    """
    layers = absent(store, image)
    if not layers:
        return
    from pybuild.registry import parallel
    from pybuild.registry.errors import DiffIdMismatch
    from pybuild.registry.parallel import Stop

    tell, stop = one_at_a_time(listener), Stop()
    try:
        with store.in_use(), ExitStack() as writers:
            tasks = [_fetching(store, layer, tell, stop, writers, insecure, patience, tap) for layer in layers]
            parallel.run(tasks, stop, jobs=jobs)
    except DiffIdMismatch:
        store.forget(image.descriptor.digest)
        raise


def fetch(store: Store, blob: Descriptor, *, insecure: bool = False, patience: Patience | None = None) -> None:
    """Fetch one blob that was left in a registry. Raises BlobNotFound and TransferError."""
    from pybuild.registry.parallel import Stop

    with ExitStack() as writers:
        _fetching(store, blob, one_at_a_time(None), Stop(), writers, insecure, patience, lambda blob: None)()


def _fetching(
    store: Store,
    blob: Descriptor,
    tell: Listener,
    stop: Stop,
    writers: ExitStack,
    insecure: bool,
    patience: Patience | None,
    make_tap: MakeTap,
) -> Callable[[], None]:
    from pybuild.registry.incoming import receive
    from pybuild.registry.origins import repositories
    from pybuild.registry.sources import Sources

    def told(done: int) -> None:
        stop.check()
        tell(Transferred("pull", blob.digest.short, done, blob.size))

    def get(download: Download) -> None:
        names = repositories(store, blob.digest)
        if not names:
            raise BlobNotFound(f"blob {blob.digest} is not in the store", hint="build or pull the image again")
        for name in names:
            stop.check()
            reference = Reference.parse(f"{name}@{blob.digest}")
            try:
                with Sources(reference, insecure=insecure, patience=patience) as sources:
                    sources.first(download.fetch)
                return
            except RegistryError as error:
                if name == names[-1]:
                    error.hint = f"the layer was left in the registry until it is needed; {error.hint or 'pull the image again'}"
                    raise

    return lambda: receive(store, blob, get, writers, told=told, tap=make_tap(blob))
