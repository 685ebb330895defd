"""A blob that is still being written, on its way to a registry: its digest is known when its last byte is.

The bytes come out of the store's file, behind who writes it, who never waits for the network. An upload of what turns out to be
there, or comes to nothing, is taken back; one that breaks is left to whoever sends the finished blob, from where it is.
Source: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

import os
import threading

from pybuild.registry.errors import TransferError
from pybuild.registry.model import Descriptor
from pybuild.registry.parallel import Stop, Stopped
from pybuild.registry.pieces import Pieces, TakesNoPieces
from pybuild.registry.repository import Repository

# What is smaller is sent when it is done: the registry may have it, or mount it, which only the digest tells.
WORTHWHILE = 16 << 20
# How much has to be there for the next piece.
PIECE = 16 << 20


class Growing:
    """The blob's file, as far as it is written. Safe for threads."""

    def __init__(self, path: str) -> None:
        # From now on, whatever its name: it is renamed at its end, or removed.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._change = threading.Condition()
        self._size = 0
        self._blob: Descriptor | None = None
        self._is_over = False

    def grow(self, size: int) -> None:
        """There are so many bytes now."""
        with self._change:
            self._size = size
            self._change.notify_all()

    def finish(self, blob: Descriptor) -> None:
        """It is whole, and this is what it is."""
        with self._change:
            self._size, self._blob, self._is_over = blob.size, blob, True
            self._change.notify_all()

    def give_up(self) -> None:
        """Nothing comes of it, unless it is whole already."""
        with self._change:
            self._is_over = True
            self._change.notify_all()

    @property
    def size(self) -> int:
        """The bytes that are there."""
        return self._size

    def ready(self, offset: int, least: int) -> int:
        """How many bytes there are from `offset` on, as soon as they are `least`; 0 when no more are being written."""
        with self._change:
            self._change.wait_for(lambda: self._is_over or self._size - offset >= least)
            return 0 if self._is_over else self._size - offset

    def blob(self) -> Descriptor:
        """What it has become, once it is whole. Raises Stopped when nothing did."""
        with self._change:
            self._change.wait_for(lambda: self._is_over)
            if self._blob is None:
                raise Stopped
            return self._blob

    def read_at(self, offset: int, size: int, /) -> bytes:
        """Up to `size` bytes from `offset` on."""
        return os.pread(self._file, size, offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def stream(repository: Repository, growing: Growing, stop: Stop) -> Pieces:
    """Send what is written until all is; how far it came. Raises Stopped, with the upload taken back.

    A trouble ends it, if the registry does not get on. What is left is an `Upload`'s, which is told of a trouble that stays.
    """
    pieces = Pieces(repository, growing, subject=f"{repository.name}: a layer in the making", told=lambda done: stop.check())
    reached = -1
    try:
        pieces.begin()
        while size := growing.ready(pieces.offset, max(min(PIECE, pieces.size), pieces.least)):
            stop.check()
            try:
                pieces.send(min(size, pieces.size))
            except TransferError as error:
                may_pass = pieces.shrink(error, growing.size)
                pieces.resume(growing.size)
                if not may_pass or pieces.location is None or pieces.offset <= reached:
                    break
                reached = pieces.offset
    except (TransferError, TakesNoPieces):
        pass
    except Stopped:
        pieces.abandon()
        raise
    return pieces
