"""Which images a store shows to whom: names as a client spells them, and the blobs that belong to them.

A client's `app` is the store's `docker.io/library/app`, and `team/app` is `docker.io/team/app`, as everywhere; an image of
another registry is found by its path too: `registry.example.com/team/app` answers to `team/app` when nothing else does. A blob is
shown in the repositories whose images lead to it, and where it was pushed.
"""

from __future__ import annotations

import os
import threading

from pybuild.registry import attached, pushed
from pybuild.registry.digest import Digest
from pybuild.registry.errors import InvalidReference
from pybuild.registry.model import REF_NAME, Descriptor
from pybuild.registry.parts import Parts, is_document
from pybuild.registry.reference import Reference
from pybuild.registry.store import Store


class Catalogue:
    """What is shown. Safe for threads; sees at once what other processes do to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mutex = threading.Lock()
        self._stamps: tuple[_Stamp, ...] = ()
        self._tags: dict[str, dict[str, Descriptor]] = {}
        self._pushed: dict[str, dict[Digest, Descriptor]] = {}
        self._below: dict[str, dict[Digest, Descriptor]] = {}

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

    def has(self, repository: str) -> bool:
        """Whether there is such a repository, be it without tags."""
        with self._mutex:
            return self._known_as(repository) in {*self._tags, *self._pushed}

    def find(self, repository: str, digest: Digest) -> Descriptor | None:
        """A blob or manifest of a repository, if it is shown there."""
        with self._mutex:
            known, own = self._known_as(repository), _own(repository)
            found = (
                self._pushed.get(own, {}).get(digest) or self._all_below(known).get(digest) or self._all_below(own).get(digest)
            )
        return found if found is not None and self._store.has(found) else None

    def add(self, repository: str, item: Descriptor, document: Parts | None = None) -> None:
        """A blob or manifest was pushed, or mounted, to a repository; to a `document` belong the blobs that it names."""
        pushed.add(self._store, _own(repository), item, document)

    def drop(self, repository: str, digest: Digest) -> None:
        """Something that was pushed is no longer there."""
        pushed.drop(self._store, digest, _own(repository))

    def is_needed(self, digest: Digest) -> bool:
        """Whether any image leads to it."""
        with self._mutex:
            self._refresh()
            return any(digest in self._all_below(name) for name in {*self._tags, *self._pushed})

    def _known_as(self, repository: str) -> str:
        self._refresh()
        if repository in self._tags:
            return repository
        own = _own(repository)
        if own in self._tags:
            return own
        # `registry.example.com/team/app` as `team/app`.
        for name in self._tags:
            host, _, path = name.partition("/")
            if path == repository and ("." in host or ":" in host):
                return name
        return own

    def _refresh(self) -> None:
        paths = (f"{self._store.root}/index.json", attached.path(self._store), pushed.path(self._store))
        stamps = tuple(_stamp(path) for path in paths)
        if stamps == self._stamps:
            return
        before, self._pushed = self._pushed, pushed.read(self._store)
        # A push writes down each blob: only what leads to others makes a difference to what is below.
        if stamps[:2] != self._stamps[:2] or _leading(before) != _leading(self._pushed):
            self._tags, self._below = self._tagged(), {}
        self._stamps = stamps

    def _tagged(self) -> dict[str, dict[str, Descriptor]]:
        tags: dict[str, dict[str, Descriptor]] = {}
        for item in self._store.index().manifests:
            try:
                reference = Reference.parse(item.annotation(REF_NAME) or "")
            except InvalidReference:
                continue
            if reference.tag:
                tags.setdefault(reference.familiar_repository, {})[reference.tag] = item
        return tags

    def _all_below(self, name: str) -> dict[Digest, Descriptor]:
        """What the manifests of a repository lead to, and they themselves."""
        if name not in self._below:
            manifests = (*self._tags.get(name, {}).values(), *filter(is_document, self._pushed.get(name, {}).values()))
            self._below[name] = {blob.digest: blob for item in manifests for blob in attached.with_attached(self._store, item)}
        return self._below[name]


_Stamp = tuple[int, ...]


def _leading(items: dict[str, dict[Digest, Descriptor]]) -> set[tuple[str, Digest]]:
    return {(name, item.digest) for name, found in items.items() for item in found.values() if is_document(item)}


def _own(repository: str) -> str:
    """What the store calls a client's repository, in short; what is no name stays as it is."""
    named = name_of(repository)
    return named.familiar_repository if named else repository


def name_of(repository: str, tag: str = "latest") -> Reference | None:
    """What the store calls a client's repository; None for what is no name."""
    try:
        return Reference.parse(f"{repository}:{tag}")
    except InvalidReference:
        return None


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return (0, 0, 0)
    return status.st_mtime_ns, status.st_size, status.st_ino
