"""What a COPY, ADD or WORKDIR puts into a layer, computed from indexes: nothing is read, written or mounted here.

The rules are those of BuildKit's file operations: see docs/design.md, "COPY". Pure but for `unpack`, which is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pybuild.builder.errors import CopyError
from pybuild.builder.layers.draft import Draft
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import Tree, walk
from pybuild.builder.layers.modes import Mode
from pybuild.builder.layers.selection import Choice, Chosen, HiddenBy, chosen, join, within
from pybuild.values import frozen

Unpack = Callable[[Entry], Iterable[Entry] | None]


@frozen
class Origin:
    """A tree to copy from, and what of it. `keeps_owner` for an image's: the files of a context belong to 0:0.

    `unpack` reads a file that is an archive, None where none is unpacked. `is_fetched` for a tree that came from a URL: in it
    nothing is a pattern or a link to follow, and a directory that is new is as it is there. `where` is how errors call it.
    """

    tree: Tree
    choice: Choice
    hidden_by: HiddenBy
    keeps_owner: bool = False
    unpack: Unpack | None = None
    where: str = ""
    is_fetched: bool = False


@frozen
class CopyRequest:
    """Where to, and as whose: an absolute path, `/` behind it if written so; `owner` is (uid, gid), None where not asked for."""

    destination: str
    owner: tuple[int, int] | None = None
    mode: Mode | None = None


def copied(request: CopyRequest, origins: Sequence[Origin], image: Tree) -> Draft:
    """The layer that copies what `origins` offer onto `image`. Raises CopyError."""
    found = [(origin, item) for origin in origins for item in _offered(origin)]
    into = request.destination.endswith("/")
    draft = Draft(image)
    for origin, item in found:
        copier = _Copier(request, origin, draft)
        if copier.unpack(item):
            continue
        if len(found) > 1 and not into and item.entry.kind is not Kind.DIRECTORY:
            raise CopyError(
                f"{len(found)} sources, and the destination {request.destination} is a single name",
                hint=f"write {request.destination}/ to copy into a directory",
            )
        copier.copy(item, into=into)
    return draft


def _offered(origin: Origin) -> Iterator[Chosen]:
    if not origin.is_fetched:
        yield from chosen(origin.tree, origin.choice, origin.hidden_by, where=origin.where)
        return
    for name in origin.choice.sources:
        entry = origin.tree.lookup(name)
        assert entry is not None
        yield Chosen(name, name, entry)


class _Copier:
    def __init__(self, request: CopyRequest, origin: Origin, draft: Draft) -> None:
        self.request = request
        self.origin = origin
        self.source = origin.tree
        self.draft = draft

    def unpack(self, item: Chosen) -> bool:
        """Unpack an archive; whether it is one, and is to be unpacked. Its destination is a directory, slash or not."""
        found = item.entry
        if self.origin.unpack is None or found.kind is not Kind.FILE or (unpacked := self.origin.unpack(found)) is None:
            return False
        target = self.draft.resolve(self.request.destination)
        self.draft.directory(target, self._parents(found)._replace(mode=0o755))
        archived(self.draft, unpacked, target, owner=self.request.owner)
        return True

    def copy(self, item: Chosen, *, into: bool) -> None:
        """Copy a source as it is."""
        found = item.entry
        target = self.draft.resolve(self.request.destination)
        existing = self.draft.lookup(target)
        if found.kind is Kind.DIRECTORY:
            self._tree(item, target, existing, into=into)
            return
        if into or (existing is not None and existing.kind is Kind.DIRECTORY) or target == "":
            # A link's own name counts, not that of the file it leads to. A link that has the name in the image is replaced.
            self.draft.directory(target, self._parents(found))
            target = join(target, item.match.rpartition("/")[2])
        else:
            self.draft.directory(target.rpartition("/")[0], self._parents(found))
        self.draft.put(self._dressed(found._replace(path=target)), self.source.identity(found))

    def _tree(self, item: Chosen, target: str, existing: Entry | None, *, into: bool) -> None:
        """A directory's contents. The directory itself is as one made on the way, or stays as it is there; both get the time."""
        found, excluded = item.entry, self.origin.choice.excluded
        if self.origin.is_fetched and existing is None and not into and target:
            self.draft.directory(target.rpartition("/")[0], self._parents(found))
            self.draft.put(self._dressed(found._replace(path=target)))
        else:
            self.draft.directory(target, self._parents(found), mtime_ns=found.mtime_ns)
        cut = len(item.place) + 1 if item.place else 0
        prefix = f"{target}/" if target else ""
        put, dressed, identity = self.draft.put, self._dressed, self.source.identity
        if item.included is None and excluded is None:
            for entry in walk(self.source, item.place):
                put(dressed(entry._replace(path=prefix + entry.path[cut:])), identity(entry))
            return
        for entry, is_on_the_way in within(self.source, item, excluded):
            placed = entry._replace(path=prefix + entry.path[cut:])
            there = self.draft.lookup(placed.path) if is_on_the_way else None
            if there is not None and there.kind is Kind.DIRECTORY:
                # BuildKit gives it the bits of the source, and leaves the rest.
                put(there._replace(mode=placed.mode))
            else:
                put(dressed(placed), identity(entry))

    def _dressed(self, entry: Entry) -> Entry:
        """The entry with the owner and mode that it gets in the image."""
        uid, gid = self.request.owner or ((entry.uid, entry.gid) if self.origin.keeps_owner else (0, 0))
        mode = entry.mode
        if self.request.mode is not None and entry.kind is not Kind.SYMLINK:
            mode = self.request.mode.of(mode, is_directory=entry.kind is Kind.DIRECTORY)
        if (uid, gid, mode) == (entry.uid, entry.gid, entry.mode):
            return entry
        return entry._replace(uid=uid, gid=gid, mode=mode)

    def _parents(self, source: Entry) -> Entry:
        """What directories made on the way are like. Their time is the source's: equal inputs give equal layers."""
        uid, gid = self.request.owner or (0, 0)
        mode = 0o755 if self.request.mode is None else self.request.mode.of_parents
        return Entry("", Kind.DIRECTORY, mode, uid, gid, 0, source.mtime_ns)


def archived(draft: Draft, entries: Iterable[Entry], target: str, *, owner: tuple[int, int] | None) -> None:
    """Unpack an archive's entries into a directory of the draft; directories that it only implies are root's."""
    files: dict[str, tuple[Entry, object]] = {}
    for entry in entries:
        parent, _, name = join(target, entry.path).rpartition("/")
        if not entry.path:
            continue
        parent = draft.resolve(parent)
        draft.directory(parent, Entry("", Kind.DIRECTORY, 0o755, mtime_ns=entry.mtime_ns))
        identity: object = None
        if entry.kind is Kind.HARDLINK:
            if entry.link not in files:
                raise CopyError(f"{entry.path}: a hard link to {entry.link}, which the archive does not have before it")
            shared, identity = files[entry.link]
            entry = shared._replace(path=entry.path)
        elif entry.kind is Kind.FILE:
            # Not its content: of an empty file that is where the next one begins.
            identity = object()
        files[entry.path] = (entry, identity)
        if owner:
            entry = entry._replace(uid=owner[0], gid=owner[1])
        draft.replace(entry._replace(path=join(parent, name)), identity)


def made_directory(path: str, below: Tree, *, mtime_ns: int, owner: tuple[int, int] = (0, 0)) -> Draft:
    """The layer of WORKDIR: the directory and those above it, where they are missing, as the property of `owner`."""
    draft = Draft(below)
    draft.directory(draft.resolve(path), Entry("", Kind.DIRECTORY, 0o755, *owner, 0, mtime_ns))
    return draft
