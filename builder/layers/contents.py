"""Contents that lie in a layer's blob, copied out of it so that they can be read: one pass over each blob that has some."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.compression import BLOCK
from pybuild.builder.layers.entry import Entry, LayerContent, SpoolContent
from pybuild.builder.layers.extraction import opened, write_all
from pybuild.registry import Descriptor, Digest, Store


@contextlib.contextmanager
def fetch(
    entries: Sequence[Entry], stack: Sequence[tuple[Descriptor, Digest] | None], store: Store
) -> Iterator[tuple[Entry, ...]]:
    """The entries with every LayerContent replaced; what they hold is there until the context is left.

    `stack` has the blob and diffID of each layer that LayerContent counts, topmost first. Raises LayerError, DigestMismatch.
    """
    wanted: dict[int, set[str]] = {}
    for entry in entries:
        if isinstance(entry.content, LayerContent):
            wanted.setdefault(entry.content.layer, set()).add(entry.content.path)
    spool, path = store.temporary()
    os.unlink(path)
    with spool:
        descriptor = spool.fileno()
        places: dict[LayerContent, int] = {}
        position = 0
        for layer, paths in wanted.items():
            blob = stack[layer]
            assert blob is not None, "a layer that is no blob has its contents on disk"
            with opened(*(blob[0], store, blob[1])) as items:
                for entry, read in items:
                    if entry.path not in paths:
                        continue
                    places[LayerContent(layer, entry.path)] = position
                    left = entry.size
                    while left:
                        content = read(min(left, BLOCK))
                        left -= len(content)
                        write_all(descriptor, content)
                        position += len(content)
        yield tuple(_replaced(entry, places, descriptor) for entry in entries)


def _replaced(entry: Entry, places: dict[LayerContent, int], descriptor: int) -> Entry:
    if not isinstance(entry.content, LayerContent):
        return entry
    if entry.content not in places:
        raise LayerError(f"/{entry.path} is not in its layer", hint="the store is damaged: pull or build the image again")
    return entry._replace(content=SpoolContent(descriptor, places[entry.content]))
