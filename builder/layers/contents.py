"""Contents that lie in a layer's blob, copied out of it so that they can be read: one pass over each blob that has some."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

from pybuild.builder.errors import ExportError, LayerError
from pybuild.builder.layers.compression import BLOCK
from pybuild.builder.layers.entry import Entry, Kind, LayerContent, SpoolContent
from pybuild.builder.layers.extraction import is_hole, opened, write_all
from pybuild.registry import Descriptor, Digest, Store


class Spool:
    """A file without a name inside the store, for contents that come out of a stream. A context manager."""

    def __init__(self, store: Store) -> None:
        self._file, path = store.temporary()
        os.unlink(path)
        self._place = store.root
        self._end = 0

    def add(self, read: Callable[[int], bytes], size: int) -> SpoolContent:
        """Copy a content of `size` bytes. Raises ExportError when the disk is full."""
        descriptor = self._file.fileno()
        start = self._end
        self._end += size
        left = size
        is_end_hole = False
        try:
            while left:
                part = read(min(left, BLOCK))
                if not part:
                    raise LayerError("a file in the layer ends too early")
                left -= len(part)
                is_end_hole = is_hole(part)
                if is_end_hole:
                    os.lseek(descriptor, len(part), os.SEEK_CUR)
                else:
                    write_all(descriptor, part)
            if is_end_hole:
                os.ftruncate(descriptor, self._end)
        except OSError as error:
            raise ExportError(
                f"cannot write to {self._place}: {error.strerror}", hint="free some space, or set PYBUILD_ROOT to another disk"
            ) from error
        return SpoolContent(descriptor, start)

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    places: dict[LayerContent, SpoolContent] = {}
    with Spool(store) as spool:
        for layer, paths in wanted.items():
            blob = stack[layer]
            assert blob is not None, "a layer that is no blob has its contents on disk"
            with opened(blob[0], store, blob[1]) as items:
                for entry, read in items:
                    if entry.kind is Kind.FILE and entry.path in paths:
                        places[LayerContent(layer, entry.path)] = spool.add(read, entry.size)
        yield tuple(_replaced(entry, places) for entry in entries)


def _replaced(entry: Entry, places: dict[LayerContent, SpoolContent]) -> Entry:
    if not isinstance(entry.content, LayerContent):
        return entry
    if entry.content not in places:
        raise LayerError(f"/{entry.path} is not in its layer", hint="the store is damaged: pull or build the image again")
    return entry._replace(content=places[entry.content])
