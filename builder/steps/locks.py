"""Locks of steps, across processes: whoever holds one is doing the step, and others wait for the result."""

from __future__ import annotations

import contextlib
import fcntl
import os

from pybuild.registry import Store
from pybuild.values import frozen


@frozen
class Taken:
    """A lock that is held now; `was_busy` when somebody else had it before."""

    was_busy: bool


class StepLocks:
    """The step locks of one build. A context manager that releases what is still held."""

    def __init__(self, store: Store) -> None:
        self._folder = f"{store.root}/locks"
        self._held: dict[str, int] = {}
        self._busy: set[str] = set()

    def take(self, key: str) -> Taken | None:
        """The step's lock; None, without waiting, while somebody else has it."""
        descriptor = os.open(self._path(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            self._busy.add(key)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if os.fstat(descriptor).st_nlink == 0:
            # Its last holder removed the file between our open and our lock.
            os.close(descriptor)
            self._busy.add(key)
            return self.take(key)
        self._held[key] = descriptor
        return Taken(was_busy=key in self._busy)

    def release(self, key: str) -> None:
        """Let others have it. Idempotent."""
        descriptor = self._held.pop(key, None)
        if descriptor is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(key))
            os.close(descriptor)

    def _path(self, key: str) -> str:
        return f"{self._folder}/step-{key}"

    def __enter__(self) -> StepLocks:
        return self

    def __exit__(self, *_: object) -> None:
        for key in tuple(self._held):
            self.release(key)
