"""A layer read while its blob is still coming in: one pass for its digest, its diffID and its index.

The bytes go by a queue of few blocks to a thread that unpacks them. A layer that cannot be decompressed, or has another diffID
than its image's config says, is refused; what is wrong with the tar in it is not told here: whoever reads the layer says it with
the line of the Dockerfile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue

from pybuild.builder.errors import BuildError, LayerError
from pybuild.builder.layers.compression import decompressed
from pybuild.builder.layers.entry import Entry
from pybuild.builder.layers.extraction import Hashed
from pybuild.builder.layers.untar import read as read_tar
from pybuild.registry import Descriptor, Digest, media
from pybuild.registry.errors import DiffIdMismatch

_MOST_WAITING = 8
# The index of a layer that has more is made when somebody asks for it: it would take too much memory beside all else.
_MOST_ENTRIES = 100_000

Keep = Callable[[Digest, tuple[Entry, ...]], None]


class _Coming:
    """The bytes as a stream; at the end of what comes it is at its end."""

    def __init__(self) -> None:
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._piece: bytes | None = b""
        self._place = 0

    def put(self, piece: bytes | None) -> None:
        """The next bytes; None is the end."""
        if piece is not None:
            self._room.acquire()
        self._pieces.put(piece)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes of what has come, at least one before the end."""
        while self._piece is not None and self._place == len(self._piece):
            self._piece, self._place = self._pieces.get(), 0
            if self._piece is not None:
                self._room.release()
        if self._piece is None:
            return b""
        content = self._piece[self._place : self._place + size if size >= 0 else None]
        self._place += len(content)
        return content


class Tap:
    """One layer that is coming in. `keep` gets its entries when it is whole and what the config says."""

    def __init__(self, blob: Descriptor, diff_id: Digest, keep: Keep) -> None:
        self._blob = blob
        self._diff_id = diff_id
        self._keep = keep
        self._begin()

    def _begin(self) -> None:
        self._coming = _Coming()
        self._entries: list[Entry] | None = []
        self._actual = ""
        self._error: BuildError | None = None
        self._thread = threading.Thread(target=self._work, args=(self._coming,), daemon=True)
        self._thread.start()

    def write(self, content: bytes, /) -> None:
        """The next bytes of the blob."""
        self._coming.put(bytes(content))

    def restart(self) -> None:
        """Forget all bytes so far."""
        self.close()
        self._begin()

    def close(self) -> None:
        """End the thread."""
        self._coming.put(None)
        self._thread.join()

    def finish(self) -> None:
        """The blob is whole, and has its digest. Raises LayerError, and DiffIdMismatch when it unpacks to something else."""
        self.close()
        if self._error is not None:
            raise self._error
        if self._actual != self._diff_id.hex:
            raise DiffIdMismatch(expected=self._diff_id, actual=f"sha256:{self._actual}", layer=self._blob.digest)
        if self._entries is not None:
            self._keep(self._diff_id, tuple(self._entries))

    def _work(self, coming: _Coming) -> None:
        try:
            stream = Hashed(decompressed(coming, media.LAYERS[self._blob.media_type]))
            self._entries = _listed(stream)
            self._actual = stream.finish()
        except LayerError as error:
            error.message = f"layer {self._blob.digest}: {error.message}"
            self._error = error
        finally:
            while coming.read(1 << 20):
                pass


def _listed(stream: Hashed) -> list[Entry] | None:
    """The entries of a tar; None when they cannot be read, or are too many."""
    entries: list[Entry] = []
    try:
        for entry, _ in read_tar(stream):
            if len(entries) == _MOST_ENTRIES:
                return None
            entries.append(entry)
    except LayerError:
        return None
    return entries


def taps(diff_ids: Mapping[Digest, Digest], keep: Keep = lambda diff_id, entries: None) -> Callable[[Descriptor], Tap | None]:
    """Taps for layers whose blobs have these diffIDs, as `MakeTaps` wants them."""

    def tap(blob: Descriptor) -> Tap | None:
        diff_id = diff_ids.get(blob.digest)
        return Tap(blob, diff_id, keep) if diff_id is not None and blob.media_type in media.LAYERS else None

    return tap
