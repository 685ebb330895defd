"""The entries of a layer in the making, over the file system that is there already. Nothing is written here."""

from __future__ import annotations

from pybuild.builder.errors import CopyError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import Tree, follow


class Draft:
    """The entries of a layer in the making, over the file system that is there already."""

    def __init__(self, below: Tree) -> None:
        self._below = below
        self._entries: dict[str, Entry] = {}
        self._identities: dict[str, object] = {}
        # Directories of which the layers below know nothing, so that what is put there meets nothing.
        self._fresh: set[str] = set()

    def lookup(self, path: str) -> Entry | None:
        """What is at this path, this layer included."""
        own = self._entries.get(path)
        if own is not None or path.rpartition("/")[0] in self._fresh:
            return own
        return self._below.lookup(path)

    def resolve(self, path: str) -> str:
        """The path with the links of the image followed."""
        return follow(self.lookup, path)

    def put(self, entry: Entry, identity: object = None) -> None:
        """Add an entry whose directory is there; a file takes the place of a file."""
        existing = self.lookup(entry.path)
        if existing is None:
            if entry.kind is Kind.DIRECTORY:
                self._fresh.add(entry.path)
        elif (existing.kind is Kind.DIRECTORY) != (entry.kind is Kind.DIRECTORY):
            if entry.kind is Kind.DIRECTORY:
                raise CopyError(f"/{entry.path} is no directory in the image, and a directory is to be copied there")
            raise CopyError(f"/{entry.path} is a directory in the image, and a file is to be copied there")
        self._set(entry, identity)

    def replace(self, entry: Entry, identity: object = None) -> None:
        """Add an entry in place of whatever is there, as unpacking an archive does."""
        existing = self.lookup(entry.path)
        if existing is not None and existing.kind is Kind.DIRECTORY and entry.kind is not Kind.DIRECTORY:
            for path in [path for path in self._entries if path.startswith(f"{entry.path}/")]:
                del self._entries[path]
        if entry.kind is Kind.DIRECTORY and (existing is None or existing.kind is not Kind.DIRECTORY):
            self._fresh.add(entry.path)
        elif entry.kind is not Kind.DIRECTORY:
            self._fresh.discard(entry.path)
        self._set(entry, identity)

    def _set(self, entry: Entry, identity: object) -> None:
        if entry.name.startswith(".wh."):
            raise CopyError(
                f"/{entry.path}: a layer cannot hold this name", hint="names that start with '.wh.' mark deletions in layers"
            )
        self._entries[entry.path] = entry
        if identity is None:
            self._identities.pop(entry.path, None)
        else:
            self._identities[entry.path] = identity

    def directory(self, path: str, like: Entry, *, mtime_ns: int | None = None) -> None:
        """Make a directory and those above it, as `like`; where one is already, it stays as it is, but for a time that is given.

        Directories that exist get an entry too: a layer is applied as it is, and names its parents.
        """
        # Down to the first that is in the layer. Not by recursion: an archive may name directories that lie deep.
        wanted = [path] if path and mtime_ns is not None else []
        above = path.rpartition("/")[0] if wanted else path
        while above and not ((own := self._entries.get(above)) and own.kind is Kind.DIRECTORY):
            wanted.append(above)
            above = above.rpartition("/")[0]
        for place in reversed(wanted):
            self._directory(place, like, mtime_ns if place == path else None)

    def _directory(self, path: str, like: Entry, mtime_ns: int | None) -> None:
        existing = self.lookup(path)
        if existing is None:
            self.put(like._replace(path=path))
        elif existing.kind is Kind.DIRECTORY:
            self._set(existing if mtime_ns is None else existing._replace(mtime_ns=mtime_ns), None)
        else:
            raise CopyError(f"/{path} is no directory in the image", hint="choose another destination")

    def entries(self) -> tuple[Entry, ...]:
        """All entries, parents first, hard links behind the file that they share."""
        first: dict[object, str] = {}
        found = []
        for path in sorted(self._entries, key=_by_parts):
            entry = self._entries[path]
            identity = self._identities.get(path)
            if identity is not None:
                name = first.setdefault(identity, path)
                if name != path:
                    entry = entry._replace(kind=Kind.HARDLINK, link=name, content=None, size=0)
            found.append(entry)
        return tuple(found)

    @property
    def has_new(self) -> bool:
        """Whether there is an entry that the layers below do not have just so."""
        return any(self._below.lookup(path) != entry for path, entry in self._entries.items())


def _by_parts(path: str) -> str:
    return path.replace("/", "\0")
