"""A blob of the store that is read bit by bit, and checked."""

from __future__ import annotations

import hashlib

from pybuild.hints import BinaryIO, Self
from pybuild.registry.model import Descriptor
from pybuild.registry.store import check

_BLOCK = 1 << 20


class VerifiedReader:
    """A readable file that checks size and SHA-256 when its end is read."""

    def __init__(self, stream: BinaryIO, blob: Descriptor) -> None:
        self._stream = stream
        self._blob = blob
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all for -1. Raises DigestMismatch at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        content = self._stream.read(size)
        self._hash.update(content)
        self._size += len(content)
        if (not content and size) or self._size > self._blob.size:
            check(self._blob, self._size, f"sha256:{self._hash.hexdigest()}")
        return content

    def close(self) -> None:
        """Close the file behind it."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
