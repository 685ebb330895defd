"""One blob on its way in: what is here already is never asked for again, whoever is asked for the rest.

Source: distribution-spec, "Pulling blobs"; RFC 9110, 14 (ranges).
"""

from __future__ import annotations

import io
from collections.abc import Callable

from pybuild.hints import Protocol
from pybuild.registry.errors import BrokenOff, DigestMismatch
from pybuild.registry.hashing import Hash
from pybuild.registry.model import Descriptor
from pybuild.registry.repository import Repository

_BLOCK = 1 << 20


class Sink(Protocol):
    """Where downloaded bytes go."""

    def write(self, content: bytes, /) -> object:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget all bytes so far."""


class InMemory(io.BytesIO):
    """A sink for a small blob."""

    def restart(self) -> None:
        """Forget all bytes so far."""
        self.seek(0)
        self.truncate()


class Download:
    """The state of one blob's download: how far it is, and the hash of that. `told` hears how many bytes are there."""

    def __init__(self, blob: Descriptor, sink: Sink, *, told: Callable[[int], None]) -> None:
        self._blob = blob
        self._sink = sink
        self._told = told
        self._begin()

    def _begin(self) -> None:
        self._hash = Hash(self._blob.size)
        self._done = 0

    def fetch(self, repository: Repository) -> None:
        """Get what is missing from a repository, going on where a connection breaks.

        Raises TransferError: another repository may give the rest; and DigestMismatch: it all starts anew.
        """
        patience = repository.client.patience
        subject = repository.about(self._blob)
        attempt = 0
        while True:
            attempt += 1
            before = self._done
            try:
                self._read(repository, subject)
                break
            except BrokenOff:
                if self._done == self._blob.size:
                    # Only the end of the answer is missing: whether all is well, the hash tells.
                    break
                # One that gets on is given all the time it needs.
                attempt = 1 if self._done > before else attempt
                if attempt >= patience.attempts:
                    raise
            patience.wait(attempt)
        actual = f"sha256:{self._hash.hexdigest()}"
        if actual != self._blob.digest:
            self._restart()
            raise DigestMismatch(expected=self._blob.digest, actual=actual, where=subject)

    def close(self) -> None:
        """Be done with it, whole or not."""
        self._hash.close()

    def _restart(self) -> None:
        self._hash.close()
        self._begin()
        self._sink.restart()

    def _read(self, repository: Repository, subject: str) -> None:
        with repository.opened(self._blob, start=self._done) as (stream, start):
            # A server that knows no ranges starts over: what is here already is passed by.
            skip = self._done - start
            while content := stream.read(_BLOCK):
                fresh = content[skip:] if skip else content
                skip = max(0, skip - len(content))
                self._done += len(fresh)
                if self._done > self._blob.size:
                    self._restart()
                    raise DigestMismatch(expected=f"{self._blob.size} bytes", actual="more", where=subject)
                self._hash.update(fresh)
                self._sink.write(fresh)
                self._told(self._done)
        if self._done < self._blob.size:
            raise BrokenOff(
                f"{subject}: {repository.client.registry} sent {self._done} of {self._blob.size} bytes",
                url=stream.url,
                hint="try again",
            )
