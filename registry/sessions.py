"""Uploads that have begun and not ended, so that the next push goes on where one that was killed has come to.

One file in the store, `uploads.json`: what the registry calls the upload, by repository and digest. Only advice: a registry that
knows nothing of it any more takes a new upload, and a damaged file is an empty one.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Protocol

from pybuild.registry.digest import Digest
from pybuild.registry.store import Store

# Registries forget an upload after a week.
_LONGEST_SECONDS = 7 * 24 * 3600
_MOST = 256
_SLOTS = 256


class Session(Protocol):
    """Where the URL of one upload is kept."""

    url: str | None

    def keep(self, url: str) -> None:
        """Remember the upload's URL."""

    def forget(self) -> None:
        """It has ended, or the registry has lost it."""


class Unremembered:
    """A session that dies with the process."""

    def __init__(self) -> None:
        self.url: str | None = None

    def keep(self, url: str) -> None:
        """Nothing to keep it for."""

    def forget(self) -> None:
        """Nothing was kept."""


class Remembered:
    """A session whose URL is in the store."""

    def __init__(self, store: Store, key: str, url: str | None) -> None:
        self.url = url
        self._store = store
        self._key = key

    def keep(self, url: str) -> None:
        """Remember the upload's URL."""
        self._edit(url)

    def forget(self) -> None:
        """It has ended, or the registry has lost it."""
        self._edit(None)

    def _edit(self, url: str | None) -> None:
        with self._store.lock("uploads", exclusive=True):
            known = _read(self._store)
            if url is None and self._key not in known:
                return
            known.pop(self._key, None)
            if url is not None:
                known[self._key] = (url, int(time.time()))
            latest = dict(list(known.items())[-_MOST:])
            temporary = self._store.root / "tmp" / f"uploads.{os.urandom(6).hex()}"
            # A URL may hold what lets its owner write to the registry.
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(latest, file)
            os.replace(temporary, self._store.root / "uploads.json")


@contextlib.contextmanager
def session(store: Store, repository: str, digest: Digest) -> Iterator[Session]:
    """The session of a blob's upload to a repository; another process that is at the same one keeps it for itself."""
    key = f"{repository}@{digest}"
    slot = int(Digest.of(key.encode()).hex[:8], 16) % _SLOTS
    with store.lock(f"upload-{slot}", exclusive=True, blocking=False) as is_ours:
        if not is_ours:
            yield Unremembered()
            return
        url, since = _read(store).get(key, (None, 0))
        yield Remembered(store, key, url if time.time() - since < _LONGEST_SECONDS else None)


def _read(store: Store) -> dict[str, tuple[str, int]]:
    try:
        document = json.loads((store.root / "uploads.json").read_bytes())
        return {str(key): (str(url), int(since)) for key, (url, since) in document.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
