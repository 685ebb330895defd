"""Uploads that have begun and not ended, so that the next push goes on where one that was killed has come to.

One file in the store, `uploads.json`: what the registry calls the upload, by repository and digest. Only advice: a registry that
knows nothing of it any more takes a new upload.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from pybuild.hints import Protocol
from pybuild.registry.digest import Digest
from pybuild.registry.notes import Notes
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

    def __init__(self, notes: Notes, key: str, url: str | None) -> None:
        self.url = url
        self._notes = notes
        self._key = key

    def keep(self, url: str) -> None:
        """Remember the upload's URL."""
        with self._notes.editing() as known:
            known.pop(self._key, None)
            known[self._key] = [url, int(time.time())]
            for key in list(known)[:-_MOST]:
                del known[key]

    def forget(self) -> None:
        """It has ended, or the registry has lost it."""
        with self._notes.editing() as known:
            known.pop(self._key, None)


@contextlib.contextmanager
def session(store: Store, repository: str, digest: Digest) -> Iterator[Session]:
    """The session of a blob's upload to a repository; another process that is at the same one keeps it for itself."""
    key = f"{repository}@{digest}"
    slot = int(Digest.of(key.encode()).hex[:8], 16) % _SLOTS
    with contextlib.ExitStack() as held:
        is_ours = held.enter_context(store.lock(f"upload-{slot}", exclusive=True, blocking=False))
        if not is_ours and _is_ending(store):
            is_ours = held.enter_context(store.lock(f"upload-{slot}", exclusive=True))
        if not is_ours:
            yield Unremembered()
            return
        notes = Notes(store, "uploads")
        yield Remembered(notes, key, _url(notes.read().get(key)))


def ending(store: Store) -> contextlib.AbstractContextManager[bool]:
    """Held by a push that was killed and ends its last pieces: for these few seconds the next one waits for it."""
    return store.lock("ending", exclusive=False)


def _is_ending(store: Store) -> bool:
    with store.lock("ending", exclusive=True, blocking=False) as is_nobody:
        return not is_nobody


def _url(entry: object) -> str | None:
    """The URL of an entry that is not too old."""
    match entry:
        case [str(url), int(since)] if time.time() - since < _LONGEST_SECONDS:
            return url
    return None
