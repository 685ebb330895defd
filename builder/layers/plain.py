"""A file system as a plain folder, where there is no overlay: copied out of trees, changed by a command, and compared.

What comes of the comparison is a tree, as overlay's upper directory would be: the files that changed, and whiteouts. A
directory that was made anew under its old name is opaque, as overlay would have it.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import Iterator, Sequence

from pybuild.builder.layers.changes import Directory, is_same, look_through, names_in_reach
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.extraction import materialise
from pybuild.builder.layers.index import MergedView, TreeView, whole

_FS_IOC_GETVERSION = 0x80087601
# What changes with every change of a file: inode and change time, which nobody can set. Of a directory: inode and generation.
_Stamp = tuple[int, int]
# What was there before, and what is there now.
_Pair = tuple[Entry | None, Entry | None]


class PlainCopy:
    """The merged `trees` (topmost first) as the new folder `path`."""

    def __init__(self, trees: Sequence[str], path: str) -> None:
        self.path = path
        self._below = MergedView([TreeView(tree) for tree in trees])
        top = self._below.lookup("")
        assert top is not None
        materialise((top, *whole(self._below)), path)
        self._stamps = dict(_stamps(path))

    def write_changes(self, place: str) -> None:
        """Write what has changed since to the new directory `place`, as a tree."""
        with names_in_reach():
            found = _Comparison(self.path, self._below, self._stamps).entries()
        materialise(found, place)


def _stamps(root: str) -> Iterator[tuple[str, _Stamp]]:
    pending = [""]
    while pending:
        directory = pending.pop()
        prefix = f"{directory}/" if directory else ""
        with os.scandir(f"{root}/{directory}") as items:
            for item in items:
                status = item.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    yield prefix + item.name, (status.st_ino, _generation(item.path))
                    pending.append(prefix + item.name)
                else:
                    yield prefix + item.name, (status.st_ino, status.st_ctime_ns)


def _generation(directory: str) -> int:
    """What tells a directory from a later one that got its inode's number; 0 where the file system does not say.

    Source: ioctl_iflags(2), FS_IOC_GETVERSION.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(descriptor, _FS_IOC_GETVERSION, bytes(8))
        return int.from_bytes(answer, sys.byteorder)
    except OSError:
        return 0
    finally:
        os.close(descriptor)


class _Comparison:
    def __init__(self, root: str, below: MergedView, stamps: dict[str, _Stamp]) -> None:
        self._root = root
        self._view = TreeView(root)
        self._below = below
        self._stamps = stamps
        self._found: list[Entry] = []
        self._names: dict[tuple[int, int], str] = {}

    def entries(self) -> tuple[Entry, ...]:
        top = self._view.get("")
        assert top is not None
        self._found.append(top)
        look_through(self._opened("", is_new=False, is_as_before=False), self._found, self._look)
        return tuple(self._found)

    def _look(self, _: Directory[_Pair], pair: _Pair) -> Directory[_Pair] | None:
        old, entry = pair
        if entry is None:
            # A device that nobody may make here was never there.
            if old is not None and old.path in self._stamps:
                self._found.append(Entry(old.path, Kind.WHITEOUT))
            return None
        if entry.kind is Kind.DIRECTORY:
            return self._sub_directory(entry, old)
        self._file(entry, old)
        return None

    def _opened(self, path: str, *, is_new: bool, is_as_before: bool) -> Directory[_Pair]:
        old = {} if is_new else {entry.path: entry for entry in self._below.children(path)}
        new = {entry.path: entry for entry in self._view.children(path)}
        pairs = ((old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys()))
        return Directory(pairs, is_new, is_as_before, len(self._found))

    def _sub_directory(self, entry: Entry, old: Entry | None) -> Directory[_Pair]:
        was_directory = old is not None and old.kind is Kind.DIRECTORY
        is_anew = was_directory and self._stamps[entry.path] != self._directory_stamp(entry.path)
        self._found.append(entry)
        if is_anew:
            self._found.append(Entry(entry.path, Kind.OPAQUE))
        is_new = is_anew or not was_directory
        return self._opened(entry.path, is_new=is_new, is_as_before=not is_new and old == entry)

    def _directory_stamp(self, path: str) -> _Stamp:
        place = f"{self._root}/{path}"
        return os.lstat(place).st_ino, _generation(place)

    def _file(self, entry: Entry, old: Entry | None) -> None:
        status = os.lstat(f"{self._root}/{entry.path}")
        if old is not None and self._stamps.get(entry.path) == (status.st_ino, status.st_ctime_ns):
            return
        if entry.kind is Kind.FILE and status.st_nlink > 1:
            first = self._names.setdefault((status.st_dev, status.st_ino), entry.path)
            if first != entry.path:
                entry = entry._replace(kind=Kind.HARDLINK, link=first, size=0, content=None)
        elif old is not None and is_same(entry, old):
            return
        self._found.append(entry)
