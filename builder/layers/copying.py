"""What a COPY, ADD or WORKDIR puts into a layer, computed from indexes: nothing is read, written or mounted here.

The rules are those of BuildKit's file operations: see docs/design.md, "COPY". Pure but for `unpack`, which is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pybuild.builder.errors import CopyError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import Tree, follow, walk
from pybuild.builder.patterns import is_pattern, translate
from pybuild.registry.values import frozen

Unpack = Callable[[Entry], Iterable[Entry] | None]


@frozen
class CopyRequest:
    """A COPY with all names looked up. `owner` is (uid, gid), `mode` an octal --chmod; None where not asked for.

    `keeps_owner` when the source is an image: a context's files belong to 0:0.
    """

    sources: tuple[str, ...]
    destination: str
    owner: tuple[int, int] | None
    mode: int | None
    keeps_owner: bool


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

    def directory(self, path: str, like: Entry) -> None:
        """Make a directory and those above it, as `like`; where one is already, it stays as it is.

        Directories that exist get an entry too: a layer is applied as it is, and names its parents.
        """
        if path in self._entries or path == "":
            return
        self.directory(path.rpartition("/")[0], like)
        existing = self.lookup(path)
        if existing is None:
            self.put(like._replace(path=path))
        elif existing.kind is Kind.DIRECTORY:
            self._set(existing, None)
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


def select(tree: Tree, source: str, hidden_by: Callable[[str], str | None]) -> list[str]:
    """The paths that a source means: itself, or all matches of its pattern, which may be none.

    `hidden_by` says which line of an ignore file hides a path. Raises CopyError for a plain path that is not there.
    """
    parts = _cleaned(source)
    if not is_pattern(source):
        path = "/".join(parts)
        if tree.lookup(follow(tree.lookup, path)) is None:
            raise _missing(tree, path, hidden_by)
        return [path]
    import re

    found = [""]
    for part in parts:
        expression = re.compile(translate(part) + r"\Z", re.DOTALL)
        matches = []
        for directory in found:
            place = follow(tree.lookup, directory)
            at = tree.lookup(place)
            if at is not None and at.kind is Kind.DIRECTORY:
                matches += [_join(directory, child.name) for child in tree.children(place) if expression.match(child.name)]
        found = matches
    return found


def _meant(tree: Tree, match: str) -> tuple[str, Entry]:
    """What a source is, links followed, and where. Raises CopyError for a link that leads nowhere."""
    place = follow(tree.lookup, match)
    found = tree.lookup(place)
    if found is None:
        raise CopyError(f"{match}: a link to {place}, which is not there", hint="mend the link, or leave it out of the pattern")
    return place, found


def _cleaned(source: str) -> list[str]:
    """The parts of a source path; `..` never leaves the context."""
    parts: list[str] = []
    for part in source.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _missing(tree: Tree, path: str, hidden_by: Callable[[str], str | None]) -> CopyError:
    if culprit := hidden_by(path):
        return CopyError(f"{path}: excluded from the context by {culprit}", hint=f"add '!{path}' behind that line")
    parent, _, name = path.rpartition("/")
    place = follow(tree.lookup, parent)
    at = tree.lookup(place)
    here = [child.name for child in tree.children(place)] if at is not None and at.kind is Kind.DIRECTORY else []
    from difflib import get_close_matches

    close = get_close_matches(name, here, 1)
    if close:
        hint = f"did you mean {_join(parent, close[0])}?"
    elif here:
        hint = f"{parent or 'the top'} has: {', '.join(here[:8])}{', ...' if len(here) > 8 else ''}"
    else:
        hint = f"there is no directory {parent}" if parent else "it is empty"
    return CopyError(f"{path}: not found", hint=hint)


def copied(
    request: CopyRequest, source: Tree, below: Tree, *, hidden_by: Callable[[str], str | None], unpack: Unpack | None
) -> Draft:
    """The layer that copies `request.sources` out of `source` onto `below`. Raises CopyError."""
    matches = [path for text in request.sources for path in select(source, text, hidden_by)]
    into = request.destination.endswith("/")
    if len(matches) > 1 and not into:
        raise CopyError(
            f"{len(matches)} sources, and the destination {request.destination} is a single name",
            hint=f"write {request.destination}/ to copy into a directory",
        )
    draft = Draft(below)
    copier = _Copier(request, source, draft, unpack)
    for match in matches:
        copier.copy(match, into)
    return draft


class _Copier:
    def __init__(self, request: CopyRequest, source: Tree, draft: Draft, unpack: Unpack | None) -> None:
        self.request = request
        self.source = source
        self.draft = draft
        self.unpack = unpack

    def copy(self, match: str, into: bool) -> None:
        place, found = _meant(self.source, match)
        target = self.draft.resolve(self.request.destination)
        existing = self.draft.lookup(target)
        if found.kind is Kind.DIRECTORY:
            self._tree(found, place, target, existing)
            return
        parents = self._parents(found)
        unpacked = self.unpack(found) if self.unpack and found.kind is Kind.FILE else None
        if unpacked is not None:
            self.draft.directory(target, parents)
            self._archive(unpacked, target, parents)
            return
        if into or (existing is not None and existing.kind is Kind.DIRECTORY) or target == "":
            # A link's own name counts, not that of the file it leads to.
            self.draft.directory(target, parents)
            target = self.draft.resolve(_join(target, match.rpartition("/")[2]))
        else:
            self.draft.directory(target.rpartition("/")[0], parents)
        self.draft.put(self._dressed(found._replace(path=target)), self.source.identity(found))

    def _tree(self, found: Entry, place: str, target: str, existing: Entry | None) -> None:
        """A directory's contents. A directory made here is as the source; the top one, if there, stays as it is."""
        if existing is None and target:
            self.draft.directory(target.rpartition("/")[0], self._parents(found))
            self.draft.put(self._dressed(found._replace(path=target)))
        else:
            self.draft.directory(target, self._parents(found))
        cut = len(place) + 1 if place else 0
        prefix = f"{target}/" if target else ""
        put, dressed, identity = self.draft.put, self._dressed, self.source.identity
        for entry in walk(self.source, place):
            put(dressed(entry._replace(path=prefix + entry.path[cut:])), identity(entry))

    def _archive(self, entries: Iterable[Entry], target: str, parents: Entry) -> None:
        files: dict[str, tuple[Entry, object]] = {}
        for entry in entries:
            parent, _, name = _join(target, entry.path).rpartition("/")
            if not entry.path:
                continue
            parent = self.draft.resolve(parent)
            self.draft.directory(parent, parents)
            identity: object = None
            if entry.kind is Kind.HARDLINK:
                if entry.link not in files:
                    raise CopyError(f"{entry.path}: a hard link to {entry.link}, which the archive does not have before it")
                shared, identity = files[entry.link]
                entry = shared._replace(path=entry.path)
            elif entry.kind is Kind.FILE:
                identity = entry.content
            files[entry.path] = (entry, identity)
            if self.request.owner:
                entry = entry._replace(uid=self.request.owner[0], gid=self.request.owner[1])
            self.draft.replace(entry._replace(path=_join(parent, name)), identity)

    def _dressed(self, entry: Entry) -> Entry:
        """The entry with the owner and mode that it gets in the image."""
        uid, gid = self.request.owner or ((entry.uid, entry.gid) if self.request.keeps_owner else (0, 0))
        mode = entry.mode
        if self.request.mode is not None and entry.kind is not Kind.SYMLINK:
            mode = self.request.mode
        if (uid, gid, mode) == (entry.uid, entry.gid, entry.mode):
            return entry
        return entry._replace(uid=uid, gid=gid, mode=mode)

    def _parents(self, source: Entry) -> Entry:
        """What directories made on the way are like. Their time is the source's: equal inputs give equal layers."""
        uid, gid = self.request.owner or (0, 0)
        mode = 0o755 if self.request.mode is None else self.request.mode
        return Entry("", Kind.DIRECTORY, mode, uid, gid, 0, source.mtime_ns)


def made_directory(path: str, below: Tree, *, mtime_ns: int, owner: tuple[int, int] = (0, 0)) -> Draft:
    """The layer of WORKDIR: the directory and those above it, where they are missing, as the property of `owner`."""
    draft = Draft(below)
    draft.directory(draft.resolve(path), Entry("", Kind.DIRECTORY, 0o755, *owner, 0, mtime_ns))
    return draft


def listing(tree: Tree, sources: Iterable[str], hidden_by: Callable[[str], str | None]) -> Iterator[tuple[str, Entry]]:
    """Everything that a copy of `sources` reads: each entry, and its path seen from its source's name."""
    for source in sources:
        for match in select(tree, source, hidden_by):
            place, found = _meant(tree, match)
            name = match.rpartition("/")[2]
            yield name, found
            if found.kind is Kind.DIRECTORY:
                cut = len(place)
                for entry in walk(tree, place):
                    yield name + entry.path[cut:], entry


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
