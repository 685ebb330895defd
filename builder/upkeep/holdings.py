"""What a store holds, and who needs it: images, what steps left, trees, cache mounts, and leftovers. Only reads.

A *holding* is something that a user knows by a name and can do without: an image, a step's result, the tree of a base's layer.
It keeps *places*, paths inside the store; a place that two holdings keep goes with the last of them. What a tag keeps is pinned.
"""

from __future__ import annotations

import contextlib
import os
from calendar import timegm
from collections.abc import Iterable, Iterator
from itertools import chain
from time import strptime

from pybuild.builder.workspace import CACHES, Workspace
from pybuild.lean import sqlite3
from pybuild.registry import Descriptor, Digest, pushed
from pybuild.registry.attached import with_attached
from pybuild.registry.errors import RegistryError
from pybuild.values import frozen

BLOBS = "blobs/sha256"
# The kinds of holdings, in the order in which they are told.
IMAGE, STEP, TREE, MOUNT, LEFTOVER = "image", "step", "tree", "cache mount", "leftover"
KINDS = (IMAGE, STEP, TREE, MOUNT, LEFTOVER)


@frozen
class Holding:
    """One thing in the store. `name` is unique within its kind: an image's digest, a step's key, a tree's or a file's name.

    `used` is when it was last of use, in seconds since 1970. `is_pinned` says that a tag keeps it; `serves_tag`, that it can be
    made anew, and saves a rebuild of a tagged image some work.
    """

    kind: str
    name: str
    title: str
    used: float
    places: tuple[str, ...] = ()
    is_pinned: bool = False
    serves_tag: bool = False


@frozen
class Holdings:
    """All holdings, and the bytes on disk of every place, of those that no holding keeps too."""

    items: tuple[Holding, ...]
    sizes: dict[str, int]
    record_bytes: int

    @property
    def total(self) -> int:
        """All bytes."""
        return sum(self.sizes.values()) + self.record_bytes

    @property
    def pinned(self) -> frozenset[str]:
        """The places that tags keep."""
        return frozenset(place for item in self.items if item.is_pinned for place in item.places)

    def size(self, items: Iterable[Holding]) -> int:
        """The bytes of these together, each place once."""
        return sum(self.sizes.get(place, 0) for place in {place for item in items for place in item.places})

    def freed(self, items: Iterable[Holding]) -> int:
        """The bytes that go when these go and all others stay."""
        doomed = {(item.kind, item.name) for item in items}
        kept = {place for item in self.items if (item.kind, item.name) not in doomed for place in item.places}
        going = {place for item in self.items if (item.kind, item.name) in doomed for place in item.places}
        return sum(self.sizes.get(place, 0) for place in going - kept)


def holdings(workspace: Workspace) -> Holdings:
    """Look through the whole store. Damaged images count with what can be read of them."""
    return _Survey(workspace).holdings()


class _Survey:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._root = workspace.store.root
        self._sizes: dict[str, int] = {}
        self._moments: dict[str, float] = {}
        self._layers_of_tags: set[str] = set()
        self._known_layers: set[str] = set()
        self._blobs: dict[str, list[str]] = {}

    def holdings(self) -> Holdings:
        for folder in (BLOBS, "tmp", "trees", CACHES):
            self._measure(folder)
        images = tuple(self._images())
        with self._workspace.database.mutex:
            connection = self._workspace.database.connection
            for diff_id, digest in connection.execute("select diff_id, digest from blobs"):
                self._blobs.setdefault(diff_id, []).append(_place(digest))
                self._known_layers.add(diff_id)
            uses: dict[str, float] = dict(connection.execute("select name, moment from uses").fetchall())
            steps = tuple(self._steps(connection, uses))
        items = [*images, *steps, *self._trees({place for step in steps for place in step.places}, uses), *self._mounts(uses)]
        kept = {place for item in items for place in item.places}
        for place in sorted(self._sizes.keys() - kept):
            items.append(Holding(LEFTOVER, place, place, self._moments[place], (place,)))
        return Holdings(tuple(items), self._sizes, self._record_bytes())

    def _measure(self, folder: str) -> None:
        with contextlib.suppress(FileNotFoundError), os.scandir(f"{self._root}/{folder}") as found:
            for item in found:
                with contextlib.suppress(FileNotFoundError):
                    place = f"{folder}/{item.name}"
                    self._sizes[place] = disk_usage(item.path)
                    self._moments[place] = item.stat(follow_symlinks=False).st_mtime

    def _images(self) -> Iterator[Holding]:
        store = self._workspace.store
        tags: dict[Digest, list[str]] = {}
        entries: dict[Digest, Descriptor] = {}
        for item in store.index().manifests:
            entries[item.digest] = item
            tags.setdefault(item.digest, [])
        for digest in tags:
            tags[digest] = [name.familiar for name in store.names(digest)]
        for digest, entry in entries.items():
            places = [_place(digest)]
            used = self._moments.get(places[0], 0.0)
            # Of an index, all platforms that are here; of an artifact all, too, though it is no image.
            places += [_place(blob.digest) for blob in with_attached(store, entry)]
            with contextlib.suppress(RegistryError):
                image = store.image(entry)
                self._known_layers |= set(image.config.diff_ids)
                if tags[digest]:
                    self._layers_of_tags |= set(image.config.diff_ids)
            names = tags[digest]
            yield Holding(IMAGE, digest, ", ".join(names) or digest.short, used, tuple(dict.fromkeys(places)), bool(names))

        for item in pushed.manifests(store):
            places = [_place(blob.digest) for blob in with_attached(store, item)]
            yield Holding(IMAGE, item.digest, item.digest.short, self._moments.get(_place(item.digest), 0.0), tuple(places))

    def _steps(self, connection: sqlite3.Connection, uses: dict[str, float]) -> Iterator[Holding]:
        for key, diff_id, tree, created in connection.execute("select key, diff_id, tree, created from steps order by key"):
            places = list(self._blobs.get(diff_id, ()))
            if tree is not None:
                places.append(f"trees/{tree}")
            there = tuple(place for place in dict.fromkeys(places) if place in self._sizes)
            used = uses.get(key) or _seconds(created)
            yield Holding(STEP, key, key[:12], used, there, serves_tag=diff_id in self._layers_of_tags)

    def _trees(self, known: set[str], uses: dict[str, float]) -> Iterator[Holding]:
        """Layers of images that were laid out for a RUN."""
        layers = {digest.removeprefix("sha256:") for digest in self._layers_of_tags}
        layers_of_all = layers | {digest.removeprefix("sha256:") for digest in self._known_layers}
        for place in sorted(self._sizes):
            folder, _, name = place.partition("/")
            # Of another name it is the tree of a step that was killed before it was written down.
            if folder == "trees" and place not in known and name in layers_of_all:
                used = uses.get(name) or self._changed(place)
                yield Holding(TREE, name, name[:12], used, (place,), serves_tag=name in layers)

    def _mounts(self, uses: dict[str, float]) -> Iterator[Holding]:
        for place in sorted(self._sizes):
            folder, _, name = place.partition("/")
            if folder == CACHES:
                yield Holding(MOUNT, name, name, uses.get(name) or self._changed(place), (place,), serves_tag=True)

    def _changed(self, place: str) -> float:
        """When a folder came to its place: its ctime, for its mtime is an image's."""
        with contextlib.suppress(FileNotFoundError):
            return os.stat(f"{self._root}/{place}").st_ctime
        return 0.0

    def _record_bytes(self) -> int:
        total = 0
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(f"{self._root}/pybuild.db{ending}").st_size
        return total


def disk_usage(path: str) -> int:
    """The bytes that a file, or a folder with all in it, takes on disk; a file with several names counts once."""
    found = chain((os.lstat(path),), _below(path))
    return sum({(status.st_dev, status.st_ino): status.st_blocks * 512 for status in found}.values())


def _below(path: str) -> Iterator[os.stat_result]:
    """All that is in a folder. What goes away meanwhile, or cannot be read by this user, takes nothing that a prune gives."""
    pending = [path] if os.path.isdir(path) and not os.path.islink(path) else []
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as found:
            for item in found:
                with contextlib.suppress(FileNotFoundError):
                    if item.is_dir(follow_symlinks=False):
                        pending.append(item.path)
                    yield item.stat(follow_symlinks=False)


def _place(digest: str) -> str:
    return f"{BLOBS}/{digest.removeprefix('sha256:')}"


def _seconds(moment: str) -> float:
    try:
        return float(timegm(strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return 0.0
