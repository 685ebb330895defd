"""Uploads that are coming in: files in the store, each as long as what has arrived of its blob.

What a client that broke off has sent is kept, so that it can go on from there. Source: distribution-spec, "Pushing blobs".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
import uuid
from collections.abc import Iterable

from pybuild.registry.digest import Digest
from pybuild.registry.hosting.exchange import EndOfBody, Refusal
from pybuild.registry.store import Store

_NAME = re.compile(r"[0-9a-f]{32}\Z")
_BLOCK = 1 << 20
# Registries forget an upload after a week; so does this.
_LONGEST_SECONDS = 7 * 24 * 3600


class Uploads:
    """All uploads of a store. Safe for threads: two requests to one upload come one after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = f"{store.root}/uploads"
        self._mutex = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        # The hash of what has arrived, and how much that is: a large blob need not be read again at its end.
        self._hashes: dict[str, tuple[hashlib._Hash, int]] = {}

    def begin(self) -> str:
        """A new upload's name."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._sweep()
        name = uuid.uuid4().hex
        os.close(os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return name

    def size(self, name: str) -> int:
        """How many bytes have arrived. Raises Refusal for an upload that is not there."""
        try:
            return os.stat(self._path(name)).st_size
        except FileNotFoundError:
            raise _unknown() from None

    def append(self, name: str, start: int | None, blocks: Iterable[bytes]) -> int:
        """Add a piece that begins at `start`, or at the end; how many bytes there are then.

        Raises Refusal for a piece that does not begin at the end, and EndOfBody, with what has come kept.
        """
        with self._locked(name):
            before = self.size(name)
            if start not in (None, before):
                raise Refusal(
                    416, "BLOB_UPLOAD_INVALID", f"the upload has {before} bytes", headers=(("Range", range_of(before)),)
                )
            digest, hashed = self._hashes.pop(name, (hashlib.sha256(), 0))
            with open(self._path(name), "ab", buffering=0) as file, contextlib.suppress(EndOfBody):
                for block in blocks:
                    view = memoryview(block)
                    while view:
                        view = view[file.write(view) :]
                    if hashed == before:
                        digest.update(block)
                        before = hashed = before + len(block)
            after = self.size(name)
            if hashed == after:
                self._hashes[name] = (digest, hashed)
            return after

    def finish(self, name: str, digest: Digest) -> int:
        """Make the blob of an upload; its size. Raises Refusal when it is another one: the upload is gone then."""
        with self._locked(name):
            size = self.size(name)
            found, hashed = self._hashes.pop(name, (hashlib.sha256(), 0))
            if hashed != size:
                found = hashlib.sha256()
                with open(self._path(name), "rb", buffering=0) as file:
                    while block := file.read(_BLOCK):
                        found.update(block)
            if found.hexdigest() != digest.hex:
                self._forget(name)
                raise Refusal(400, "DIGEST_INVALID", f"what arrived is sha256:{found.hexdigest()}")
            self._store.adopt(self._path(name), digest)
            self._forget(name)
        return size

    def cancel(self, name: str) -> None:
        """Forget an upload. Raises Refusal for one that is not there."""
        with self._locked(name):
            self.size(name)
            self._forget(name)

    def _forget(self, name: str) -> None:
        """Keep nothing of an upload that has ended."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))
        with self._mutex:
            self._hashes.pop(name, None)
            self._locks.pop(name, None)

    def _path(self, name: str) -> str:
        if not _NAME.match(name):
            raise _unknown()
        return f"{self._folder}/{name}"

    def _locked(self, name: str) -> threading.Lock:
        self.size(name)
        with self._mutex:
            return self._locks.setdefault(name, threading.Lock())

    def _sweep(self) -> None:
        with os.scandir(self._folder) as found:
            for entry in found:
                with contextlib.suppress(FileNotFoundError):
                    if _NAME.match(entry.name) and time.time() - entry.stat().st_mtime > _LONGEST_SECONDS:
                        self._forget(entry.name)


def range_of(size: int) -> str:
    """How much has arrived, as the Range header says it."""
    return f"0-{max(size - 1, 0)}"


def _unknown() -> Refusal:
    return Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
