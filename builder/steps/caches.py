"""The folders of `RUN --mount=type=cache`: which one a mount gets, and who may have it at the same time.

A cache is known by its id, by what it started from, and by the owner and mode that it started with. It lies in the store's
`caches/`, under a name that tells its id; beside the first there are others when a build could not have that one. Locks hold
between processes too, and end with their holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator

from pybuild.builder.workspace import CACHES, Workspace, adopt_tree
from pybuild.values import frozen

_POLL_SECONDS = 0.05
_LONGEST_NAME = 40


@frozen
class Cache:
    """What a cache is known by. `seed` is a hash of what it starts from, None for nothing."""

    id: str
    seed: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        mark = hashlib.sha256(json.dumps([self.id, self.seed, self.mode, self.uid, self.gid]).encode()).hexdigest()
        spoken = re.sub("[^A-Za-z0-9._-]+", "-", self.id).strip("-.")[-_LONGEST_NAME:]
        return f"{spoken or 'cache'}-{mark[:16]}"


Fill = Callable[[str], None]


@contextlib.contextmanager
def taken(cache: Cache, sharing: str, workspace: Workspace, *, fill: Fill | None, check: Callable[[], None]) -> Iterator[str]:
    """The folder of a cache, for as long as the context lasts; `fill` puts the beginning into a new one.

    shared has it together with others, private has one that nobody else has, locked waits until nobody else has it, and calls
    `check` while it does. Source: BuildKit, solver/llbsolver/mounts.
    """
    top = f"{workspace.store.root}/{CACHES}"
    os.makedirs(top, exist_ok=True)
    with contextlib.ExitStack() as stack:
        while True:
            path = _free(cache.name, sharing, top, workspace, stack)
            if path is not None:
                break
            check()
            time.sleep(_POLL_SECONDS)
        if not os.path.isdir(path):
            _make(cache, path, workspace, fill)
        yield path


def _free(name: str, sharing: str, top: str, workspace: Workspace, stack: contextlib.ExitStack) -> str | None:
    """The first folder that may be had, whether it is there or not; None when the one to wait for is another's."""
    number = 0
    while True:
        full = f"{name}.{number}" if number else name
        path = f"{top}/{full}"
        if sharing == "locked" and number and not os.path.isdir(path):
            return None
        descriptor = os.open(f"{workspace.store.root}/locks/cache-{full}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            number += 1
            continue
        stack.callback(os.close, descriptor)
        return path


def _make(cache: Cache, path: str, workspace: Workspace, fill: Fill | None) -> None:
    """Several who share it may make it at the same moment: one of them wins."""
    with workspace.scratch() as scratch:
        fresh = f"{scratch}/cache"
        if fill is not None:
            fill(fresh)
        else:
            os.mkdir(fresh)
            os.chown(fresh, cache.uid or 0, cache.gid or 0)
            os.chmod(fresh, 0o755 if cache.mode is None else cache.mode & 0o7777)
        adopt_tree(fresh, path)
