"""A layer read while its blob is still coming in: one pass for its digest, its diffID and its index.

The bytes go by a queue of few blocks to a thread that unpacks them. What is wrong with the tar is not told here: whoever reads
the layer says it with the line of the Dockerfile; only a diffID that is another than the config's is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from pybuild.builder.errors import BuildError
from pybuild.builder.layers.compression import decompressed
from pybuild.builder.layers.entry import Entry
from pybuild.builder.layers.extraction import Hashed
from pybuild.builder.layers.untar import read as read_tar
from pybuild.registry import Descriptor, Digest, media
from pybuild.registry.errors import DigestMismatch

_MOST_WAITING = 8

Keep = Callable[[tuple[Entry, ...]], None]


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
        self._entries: list[Entry] = []
        self._actual: str | None = None
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
        """The blob is whole, and has its digest. Raises DigestMismatch when its diffID is another than the config's."""
        self.close()
        if self._actual is None:
            return
        if self._actual != self._diff_id.hex:
            raise DigestMismatch(
                expected=self._diff_id, actual=f"sha256:{self._actual}", where=f"layer {self._blob.digest}, unpacked"
            )
        self._keep(tuple(self._entries))

    def _work(self, coming: _Coming) -> None:
        try:
            stream = Hashed(decompressed(coming, media.LAYERS[self._blob.media_type]))
            self._entries.extend(entry for entry, _ in read_tar(stream))
            self._actual = stream.finish()
        except (BuildError, KeyError):
            self._actual = None
        finally:
            while coming.read(1 << 20):
                pass
