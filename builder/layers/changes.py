"""What a RUN changed: overlay's upper directory as the entries of a layer.

A file that was only opened for writing is copied up by overlayfs, and looks changed: it is compared with what is below,
and left out when it is the same. Source: the kernel's overlayfs.rst; image-spec, layer.md, "Whiteouts".
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

from pybuild.builder.errors import BuildError
from pybuild.builder.layers.entry import DiskContent, Entry, Kind
from pybuild.builder.layers.index import Tree, TreeView
from pybuild.hints import Generic, NamedTuple, TypeVar

T = TypeVar("T")
_BLOCK = 1 << 20


def changes(upper: str, below: Tree) -> tuple[Entry, ...]:
    """The layer that turns the file system `below` into what the overlay showed.

    Files are compared on disk; one whose old content is elsewhere is taken for another. Raises BuildError for what has no name
    that can be used.
    """
    with names_in_reach():
        return _Comparison(upper, below).entries()


@contextlib.contextmanager
def names_in_reach() -> Iterator[None]:
    """A path that is longer than the kernel takes, which a command makes piece by piece, is a BuildError."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        deep = "directories in directories whose path is longer than 4096 bytes"
        raise BuildError(f"a RUN has left {deep}", hint="no layer can have them: remove them in the same RUN") from None


class Directory(NamedTuple, Generic[T]):
    """One that is being looked through: what is left of it, and whether nothing below shows through it.

    One that is itself as before was not changed if no more is found in it than what was `found` when it began.
    """

    rest: Iterator[T]
    is_new: bool
    is_as_before: bool
    found: int


def look_through(top: Directory[T], found: list[Entry], look: Callable[[Directory[T], T], Directory[T] | None]) -> None:
    """Show `look` all that is in a directory and in those that it opens, which adds to `found` what has changed."""
    # A stack of our own: directories may lie deeper than Python's goes.
    pending = [top]
    while pending:
        directory = pending[-1]
        item = next(directory.rest, None)
        if item is None:
            pending.pop()
            if directory.is_as_before and len(found) == directory.found:
                found.pop()
        elif (inner := look(directory, item)) is not None:
            pending.append(inner)


class _Comparison:
    def __init__(self, upper: str, below: Tree) -> None:
        self._upper = upper
        self._view = TreeView(upper)
        self._below = below
        self._found: list[Entry] = []
        self._names: dict[tuple[int, int], str] = {}

    def entries(self) -> tuple[Entry, ...]:
        look_through(self._opened("", is_new=False, is_as_before=False), self._found, self._look)
        return tuple(self._found)

    def _look(self, directory: Directory[Entry], entry: Entry) -> Directory[Entry] | None:
        old = None if directory.is_new else self._below.lookup(entry.path)
        if entry.kind is Kind.DIRECTORY:
            return self._sub_directory(entry, old)
        if entry.kind is not Kind.WHITEOUT:
            self._file(entry, old)
        elif old is not None:
            self._found.append(entry)
        return None

    def _opened(self, path: str, *, is_new: bool, is_as_before: bool) -> Directory[Entry]:
        return Directory(iter(sorted(self._view.children(path), key=_name)), is_new, is_as_before, len(self._found))

    def _sub_directory(self, entry: Entry, old: Entry | None) -> Directory[Entry]:
        is_opaque = self._view.is_opaque(entry.path)
        was_directory = old is not None and old.kind is Kind.DIRECTORY
        self._found.append(entry)
        if is_opaque and was_directory:
            self._found.append(Entry(entry.path, Kind.OPAQUE))
        is_new = is_opaque or not was_directory
        return self._opened(entry.path, is_new=is_new, is_as_before=not is_new and old == entry)

    def _file(self, entry: Entry, old: Entry | None) -> None:
        if entry.kind is Kind.FILE:
            status = os.lstat(f"{self._upper}/{entry.path}")
            if status.st_nlink > 1:
                first = self._names.setdefault((status.st_dev, status.st_ino), entry.path)
                if first != entry.path:
                    self._found.append(entry._replace(kind=Kind.HARDLINK, link=first, size=0, content=None))
                    return
                # Its other names count on it: it has to be in the layer.
                self._found.append(entry)
                return
        if old is not None and is_same(entry, old):
            return
        self._found.append(entry)


def is_same(new: Entry, old: Entry) -> bool:
    """Whether a file on disk is as the other is, its content too."""
    return _alike(new, old) and (new.kind is not Kind.FILE or _same_on_disk(new, old))


def _alike(new: Entry, old: Entry) -> bool:
    return new._replace(content=None, link=new.link) == old._replace(
        content=None, link=old.link if old.kind is Kind.SYMLINK else ""
    )


def _same_on_disk(new: Entry, old: Entry) -> bool:
    if not isinstance(new.content, DiskContent) or not isinstance(old.content, DiskContent):
        return False
    with open(new.content.path, "rb") as one, open(old.content.path, "rb") as other:
        while True:
            content = one.read(_BLOCK)
            if content != other.read(_BLOCK):
                return False
            if not content:
                return True


def _name(entry: Entry) -> str:
    return entry.name
