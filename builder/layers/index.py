"""What is where in a stack of layers, without extracting any: a view of each layer, and of all of them merged.

A view answers for one layer, whiteouts and all; `MergedView` for the file system that the layers make together, as
overlayfs would show it. Nothing here reads a file's content: an entry says where it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from pybuild.builder.errors import CopyError
from pybuild.builder.layers.entry import DiskContent, Entry, Kind, LayerContent
from pybuild.hints import Protocol

# The mode of a directory that a layer only implies, by a path below it: its metadata comes from the layers below.
IMPLIED = -1
_MOST_LINKS = 40
_MOST_REMEMBERED = 500
# Ours, for stores on overlayfs; no layer has it.
WHITEOUT = "user.overlay.pybuild.whiteout"
_XATTRS = ("security.capability", "user.")


class LayerView(Protocol):
    """One layer. Paths are literal: no link is followed."""

    def get(self, path: str) -> Entry | None:
        """The entry of this path, a WHITEOUT included.

        A hard link reads as a FILE whose `link` is the first name, and so does the first name itself.
        """

    def is_opaque(self, path: str) -> bool:
        """Whether this directory hides what the layers below have in it."""

    def children(self, path: str) -> Iterable[Entry]:
        """The entries directly in a directory, WHITEOUTs included, OPAQUEs not."""


class Tree(Protocol):
    """A file system to copy from or to."""

    def lookup(self, path: str) -> Entry | None:
        """What is at this path; links are not followed, in no part of it."""

    def children(self, path: str) -> Sequence[Entry]:
        """What is directly in a directory, sorted by name."""

    def identity(self, entry: Entry) -> object:
        """A value that all hard links of one file share, None for a file that is not linked."""


class RecipeView:
    """A layer that is still a list of entries."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[str, Entry] = {}
        self._opaque: set[str] = set()
        self._children: dict[str, list[str]] = {}
        for entry in entries:
            if entry.kind is Kind.OPAQUE:
                self._opaque.add(entry.path)
                if (own := self._entries.get(entry.path)) is None or own.kind is Kind.WHITEOUT:
                    self._add(Entry(entry.path, Kind.DIRECTORY, IMPLIED))
            elif entry.kind is Kind.WHITEOUT and (own := self._entries.get(entry.path)):
                # It hides what the layers below have, never what its own layer has, whichever of the two came first.
                if own.kind is Kind.DIRECTORY:
                    self._opaque.add(entry.path)
            else:
                self._add(entry)

    def _add(self, entry: Entry) -> None:
        if entry.kind is Kind.HARDLINK and (first := self._entries.get(entry.link)):
            if first.kind is Kind.FILE and not first.link:
                # So that one sees of either that it has several names.
                first = self._entries[first.path] = first._replace(link=first.path)
            entry = first._replace(path=entry.path, link=first.link)
        path = entry.path
        existing = self._entries.get(path)
        if existing is None:
            self._imply(path)
        elif existing.kind is Kind.WHITEOUT and entry.kind is Kind.DIRECTORY:
            self._opaque.add(path)
        self._entries[path] = entry

    def _imply(self, path: str) -> None:
        """List a new path in its directory, and that in the one above, where the layer does not name them."""
        while path:
            parent = path.rpartition("/")[0]
            self._children.setdefault(parent, []).append(path)
            above = self._entries.get(parent)
            if not parent or (above is not None and above.kind is not Kind.WHITEOUT):
                return
            self._entries[parent] = Entry(parent, Kind.DIRECTORY, IMPLIED)
            if above is not None:
                self._opaque.add(parent)
                return
            path = parent

    def entries(self) -> Iterator[tuple[Entry, bool]]:
        """Every entry, implied directories too, and whether it is opaque."""
        return ((entry, path in self._opaque) for path, entry in self._entries.items())

    def get(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def is_opaque(self, path: str) -> bool:
        return path in self._opaque

    def children(self, path: str) -> Iterable[Entry]:
        return (self._entries[child] for child in self._children.get(path, ()))


class TreeView:
    """A layer that lies on disk as an overlay lower directory. A socket is in no layer, and hides what is below it."""

    def __init__(self, root: str) -> None:
        self._root = root

    def get(self, path: str) -> Entry | None:
        place = f"{self._root}/{path}"
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return entry_on_disk(place, path, status) or Entry(path, Kind.WHITEOUT)

    def is_opaque(self, path: str) -> bool:
        for name in ("trusted.overlay.opaque", "user.overlay.opaque"):
            try:
                if os.getxattr(f"{self._root}/{path}", name, follow_symlinks=False) == b"y":
                    return True
            except OSError:
                continue
        return False

    def children(self, path: str) -> Iterable[Entry]:
        prefix = f"{path}/" if path else ""
        with os.scandir(f"{self._root}/{path}") as items:
            for item in items:
                path = prefix + item.name
                yield entry_on_disk(item.path, path, item.stat(follow_symlinks=False)) or Entry(path, Kind.WHITEOUT)


class RememberingView:
    """A layer that nobody changes any more, and is asked for the same few paths again and again: what was found stays."""

    def __init__(self, view: LayerView) -> None:
        self._view = view
        self._entries: dict[str, Entry | None] = {}
        self._opaque: dict[str, bool] = {}

    def get(self, path: str) -> Entry | None:
        try:
            return self._entries[path]
        except KeyError:
            entry = self._view.get(path)
            if len(self._entries) < _MOST_REMEMBERED:
                self._entries[path] = entry
            return entry

    def is_opaque(self, path: str) -> bool:
        try:
            return self._opaque[path]
        except KeyError:
            found = self._view.is_opaque(path)
            if len(self._opaque) < _MOST_REMEMBERED:
                self._opaque[path] = found
            return found

    def children(self, path: str) -> Iterable[Entry]:
        return self._view.children(path)


def entry_on_disk(place: str, path: str, status: os.stat_result) -> Entry | None:
    """The entry of a file on disk, under another path; None for a socket, which no layer has."""
    mode = stat.S_IMODE(status.st_mode)
    common = (mode, status.st_uid, status.st_gid)
    xattrs = kept_xattrs(place)
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFREG:
            if is_marked_whiteout(place, status):
                return Entry(path, Kind.WHITEOUT)
            return Entry(path, Kind.FILE, *common, status.st_size, status.st_mtime_ns, xattrs=xattrs, content=DiskContent(place))
        case stat.S_IFDIR:
            return Entry(path, Kind.DIRECTORY, *common, 0, status.st_mtime_ns, xattrs=xattrs)
        case stat.S_IFLNK:
            return Entry(path, Kind.SYMLINK, 0o777, *common[1:], 0, status.st_mtime_ns, os.readlink(place), xattrs=xattrs)
        case stat.S_IFCHR | stat.S_IFBLK as form:
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            if form == stat.S_IFCHR and device == (0, 0):
                return Entry(path, Kind.WHITEOUT)
            kind = Kind.CHARACTER if form == stat.S_IFCHR else Kind.BLOCK
            return Entry(path, kind, *common, 0, status.st_mtime_ns, device=device, xattrs=xattrs)
        case stat.S_IFIFO:
            return Entry(path, Kind.FIFO, *common, 0, status.st_mtime_ns, xattrs=xattrs)
    return None


def is_marked_whiteout(place: str, status: os.stat_result) -> bool:
    """Whether a file is a whiteout where the file system takes no device for one."""
    if status.st_size or stat.S_IMODE(status.st_mode) or not stat.S_ISREG(status.st_mode):
        return False
    try:
        return os.getxattr(place, WHITEOUT, follow_symlinks=False) == b"y"
    except OSError:
        return False


def kept_xattrs(place: str) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes that an image keeps: capabilities and the user's own; labels of the host are not."""
    try:
        names = os.listxattr(place, follow_symlinks=False)
        return (
            tuple(
                (name, os.getxattr(place, name, follow_symlinks=False))
                for name in sorted(names)
                if name.startswith(_XATTRS) and not name.startswith("user.overlay.")
            )
            if names
            else ()
        )
    except OSError:
        return ()


class MergedView:
    """The file system that a stack of layers makes; the topmost layer is first."""

    def __init__(self, layers: Sequence[LayerView]) -> None:
        self._layers = layers
        # Which layers still speak in a directory, found on the way down to it.
        last = next((number for number, layer in enumerate(layers) if layer.is_opaque("")), len(layers))
        self._speaking: dict[str, tuple[int, ...]] = {"": tuple(range(len(layers))[: last + 1])}

    def lookup(self, path: str) -> Entry | None:
        if path == "":
            return self._settle([(n, entry) for n, layer in enumerate(self._layers) if (entry := layer.get(""))]) or Entry(
                "", Kind.DIRECTORY, 0o755
            )
        above = self._layers_of(path.rpartition("/")[0])
        return self._merge(path, ((number, entry) for number in above if (entry := self._layers[number].get(path))))

    def _merge(self, path: str, entries: Iterable[tuple[int, Entry]]) -> Entry | None:
        """What the entries of one path make, the topmost layer's first; no more of them are taken than have a say."""
        found: list[tuple[int, Entry]] = []
        for number, entry in entries:
            if entry.kind is not Kind.DIRECTORY:
                if not found and entry.kind is not Kind.WHITEOUT:
                    return self._located(number, entry)
                break
            found.append((number, entry))
            if self._layers[number].is_opaque(path):
                break
        self._speaking[path] = tuple(number for number, _ in found)
        return self._settle(found)

    def _layers_of(self, directory: str) -> tuple[int, ...]:
        # From the top down: directories may lie deeper than Python's stack goes.
        end = 0
        while directory not in self._speaking:
            end = directory.find("/", end + 1)
            path = directory if end < 0 else directory[:end]
            if path not in self._speaking and (self.lookup(path) is None or path not in self._speaking):
                return ()
        return self._speaking[directory]

    def _settle(self, found: list[tuple[int, Entry]]) -> Entry | None:
        for number, entry in found:
            if entry.mode != IMPLIED:
                return self._located(number, entry)
        return Entry(found[0][1].path, Kind.DIRECTORY, 0o755) if found else None

    def _located(self, number: int, entry: Entry) -> Entry:
        if entry.kind is Kind.FILE and entry.content is None:
            return entry._replace(content=LayerContent(number, entry.link or entry.path))
        return entry

    def children(self, path: str) -> Sequence[Entry]:
        names: dict[str, list[tuple[int, Entry]]] = {}
        for number in self._layers_of(path):
            for entry in self._layers[number].children(path):
                names.setdefault(entry.path, []).append((number, entry))
        found = (self._merge(name, names[name]) for name in sorted(names))
        return [entry for entry in found if entry is not None]

    def identity(self, entry: Entry) -> object:
        content = entry.content
        if isinstance(content, DiskContent):
            status = os.lstat(content.path)
            return (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        return content if entry.link else None


def follow(lookup: Callable[[str], Entry | None], path: str) -> str:
    """A path with every link in it followed, the last part too, never leaving the root; what is missing stays as it is.

    Raises CopyError for a ring of links.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        entry = lookup("/".join((*done, part)))
        if entry is None or entry.kind is not Kind.SYMLINK:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise CopyError(f"{path}: too many symbolic links", hint="a link there leads back to itself")
        if entry.link.startswith("/"):
            done.clear()
        todo.extend(part for part in reversed(entry.link.split("/")) if part not in ("", "."))
    return "/".join(done)


def walk(tree: Tree, directory: str) -> Iterator[Entry]:
    """All that is below a directory, each directory before what is in it, sorted by name within one."""
    pending = [iter(tree.children(directory))]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
            continue
        yield entry
        if entry.kind is Kind.DIRECTORY:
            pending.append(iter(tree.children(entry.path)))


def whole(tree: Tree) -> Iterator[Entry]:
    """All of a tree but its root; of a file with several names all but the first are hard links to that."""
    first: dict[object, str] = {}
    for entry in walk(tree, ""):
        if entry.kind is Kind.FILE and (identity := tree.identity(entry)) is not None:
            name = first.setdefault(identity, entry.path)
            if name != entry.path:
                entry = entry._replace(kind=Kind.HARDLINK, link=name, content=None, size=0)
        yield entry
