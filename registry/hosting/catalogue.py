"""Which images a store shows to whom: names as a client spells them, and the blobs that belong to them.

A client's `app` is the store's `docker.io/library/app`, and `team/app` is `docker.io/team/app`, as everywhere; an image of
another registry is found by its path too: `registry.example.com/team/app` answers to `team/app` when nothing else does. A blob is
shown in the repositories whose images lead to it, and where it was pushed.
"""

from __future__ import annotations

import os
import threading

from pybuild.registry import attached
from pybuild.registry.digest import Digest
from pybuild.registry.errors import InvalidReference
from pybuild.registry.model import REF_NAME, Descriptor
from pybuild.registry.reference import Reference
from pybuild.registry.store import Store


class Catalogue:
    """What is shown. Safe for threads; sees at once what other processes do to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mutex = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._tags: dict[str, dict[str, Descriptor]] = {}
        self._below: dict[str, dict[Digest, Descriptor]] = {}
        # Blobs and manifests that were pushed and belong to nothing yet.
        self._pushed: dict[str, dict[Digest, Descriptor]] = {}

    def repositories(self) -> tuple[str, ...]:
        """The names of all repositories."""
        with self._mutex:
            self._refresh()
            return tuple(sorted(self._tags))

    def tags(self, repository: str) -> dict[str, Descriptor]:
        """The tags of a repository and what they name; empty for one that is not there."""
        with self._mutex:
            known = self._known_as(repository)
            return dict(self._tags.get(known, {}))

    def find(self, repository: str, digest: Digest) -> Descriptor | None:
        """A blob or manifest of a repository, if it is shown there."""
        with self._mutex:
            known = self._known_as(repository)
            found = self._pushed.get(repository, {}).get(digest) or self._all_below(known).get(digest)
        return found if found is not None and self._store.has(found) else None

    def add(self, repository: str, item: Descriptor) -> None:
        """A blob or manifest was pushed, or mounted, to a repository."""
        with self._mutex:
            self._pushed.setdefault(repository, {})[item.digest] = item

    def drop(self, repository: str, digest: Digest) -> None:
        """Something that was pushed is no longer there."""
        with self._mutex:
            self._pushed.get(repository, {}).pop(digest, None)

    def is_needed(self, digest: Digest) -> bool:
        """Whether any image leads to it."""
        with self._mutex:
            self._refresh()
            return any(digest in self._all_below(name) for name in self._tags)

    def _known_as(self, repository: str) -> str:
        self._refresh()
        if repository in self._tags:
            return repository
        own = name_of(repository)
        for name in self._tags:
            if own is not None and name_of(name) == own:
                return name
        # `registry.example.com/team/app` as `team/app`.
        for name in self._tags:
            host, _, path = name.partition("/")
            if path == repository and ("." in host or ":" in host):
                return name
        return ""

    def _refresh(self) -> None:
        paths = (self._store.root / "index.json", attached.path(self._store))
        stamp = tuple(part for path in paths for part in _stamp(path))
        if stamp == self._stamp:
            return
        tags: dict[str, dict[str, Descriptor]] = {}
        for item in self._store.index().manifests:
            try:
                reference = Reference.parse(item.annotation(REF_NAME) or "")
            except InvalidReference:
                continue
            if reference.tag:
                tags.setdefault(reference.familiar_repository, {})[reference.tag] = item
        self._stamp, self._tags, self._below = stamp, tags, {}

    def _all_below(self, name: str) -> dict[Digest, Descriptor]:
        if name not in self._below:
            found: dict[Digest, Descriptor] = {}
            for item in self._tags.get(name, {}).values():
                for blob in attached.with_attached(self._store, item):
                    found[blob.digest] = blob
            self._below[name] = found
        return self._below[name]


def name_of(repository: str, tag: str = "latest") -> Reference | None:
    """What the store calls a client's repository; None for what is no name."""
    try:
        return Reference.parse(f"{repository}:{tag}")
    except InvalidReference:
        return None


def _stamp(path: os.PathLike[str]) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return (0, 0, 0)
    return status.st_mtime_ns, status.st_size, status.st_ino
