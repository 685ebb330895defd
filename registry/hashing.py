"""SHA-256 beside the reading: of a large blob on a thread of its own, so that the network is not waited for while hashing."""

from __future__ import annotations

import hashlib
import threading
from queue import SimpleQueue

# Below this a thread costs more than it gives.
_LARGE = 4 << 20
_MOST_WAITING = 8


class Hash:
    """The hash of bytes that come in pieces; `size` is how many are expected."""

    def __init__(self, size: int) -> None:
        self._hash = hashlib.sha256()
        self._pieces: SimpleQueue[bytes | None] | None = None
        if size >= _LARGE:
            self._pieces = SimpleQueue()
            self._room = threading.Semaphore(_MOST_WAITING)
            self._thread = threading.Thread(target=self._work, args=(self._pieces,), daemon=True)
            self._thread.start()

    def update(self, content: bytes) -> None:
        """The next bytes."""
        if self._pieces is None:
            self._hash.update(content)
            return
        self._room.acquire()
        self._pieces.put(content)

    def _work(self, pieces: SimpleQueue[bytes | None]) -> None:
        while (content := pieces.get()) is not None:
            self._hash.update(content)
            self._room.release()

    def hexdigest(self) -> str:
        """The digest of all bytes; nothing comes after it."""
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the thread."""
        if self._pieces is not None:
            self._pieces.put(None)
            self._thread.join()
            self._pieces = None
