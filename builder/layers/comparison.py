"""A tree on disk against the layer that it was made from, entry by entry as the layer is read."""

from __future__ import annotations

import os

from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import TreeView

_TIME = "has another time"


class Comparison:
    """Compares one tree. `is_exact` says that the tree was laid out from the layer: times count, and what is more is wrong.

    For each entry call `begin`, `take` with its content, `end`; `problem` in the end.
    """

    def __init__(self, root: str, *, is_exact: bool) -> None:
        self._root = root
        self._is_exact = is_exact
        self._view = TreeView(root)
        self._is_root = os.geteuid() == 0
        self._problems: dict[str, str] = {}
        self._known: set[str] = {""}
        self._entry: Entry | None = None
        self._file = -1
        self._position = 0

    def begin(self, entry: Entry) -> None:
        """The next entry of the layer; a later one takes the place of an earlier one of the same path."""
        self._entry = entry
        self._position = 0
        path = entry.path
        if entry.kind is not Kind.OPAQUE:
            self._problems.pop(path, None)
        while path:
            self._known.add(path)
            path = path.rpartition("/")[0]
        problem = self._difference(entry)
        if problem is not None:
            self._problems[entry.path] = problem
        if problem in (None, _TIME) and entry.kind is Kind.FILE and entry.size:
            try:
                self._file = os.open(f"{self._root}/{entry.path}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError as error:
                self._problems[entry.path] = f"cannot be read: {error.strerror}"

    def take(self, content: bytes) -> None:
        """The next bytes of the entry's content."""
        assert self._entry is not None
        if self._file >= 0 and os.pread(self._file, len(content), self._position) != content:
            self._problems[self._entry.path] = "has other content"
            self.end()
        self._position += len(content)

    def end(self) -> None:
        """No more content."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def problem(self) -> str | None:
        """What is wrong, None when nothing is; a directory's time, which tells of something else, comes last."""
        for path, problem in sorted(self._problems.items(), key=lambda item: (item[1] == _TIME, item[0])):
            if problem != _TIME:
                return f"/{path} {problem}"
            return self._surplus() or f"/{path} {problem}"
        return self._surplus()

    def _surplus(self) -> str | None:
        # Not by os.walk, which calls itself: directories may lie deeper than Python's stack.
        pending = [""] if self._is_exact else []
        while pending:
            folder = pending.pop()
            with os.scandir(f"{self._root}/{folder}") as items:
                for item in items:
                    path = f"{folder}/{item.name}" if folder else item.name
                    if path not in self._known:
                        return f"/{path} is not in the layer"
                    if item.is_dir(follow_symlinks=False):
                        pending.append(path)
        return None

    def _difference(self, entry: Entry) -> str | None:
        if entry.kind is Kind.OPAQUE:
            return None if self._view.is_opaque(entry.path) else "does not hide what is below it"
        found = self._view.get(entry.path)
        if found is None:
            return "is missing"
        if entry.kind is Kind.HARDLINK:
            try:
                is_same = os.path.samestat(*(os.lstat(f"{self._root}/{path}") for path in (entry.path, entry.link)))
            except OSError:
                is_same = False
            return None if is_same else f"is not the same file as /{entry.link}"
        if entry.kind is Kind.WHITEOUT:
            # What the layer has itself at this path stays, and then hides all that is below.
            is_hidden = found.kind is Kind.WHITEOUT or found.kind is not Kind.DIRECTORY or self._view.is_opaque(entry.path)
            return None if is_hidden else "does not hide what is below it"
        return self._changed(entry, found)

    def _changed(self, entry: Entry, found: Entry) -> str | None:
        if found.kind is not entry.kind:
            return f"is a {found.kind.name.lower()}, not a {entry.kind.name.lower()}"
        if found.size != entry.size:
            return f"has {found.size} bytes, not {entry.size}"
        if entry.kind is not Kind.SYMLINK and found.mode != entry.mode:
            return f"has the mode {found.mode:o}, not {entry.mode:o}"
        if self._is_root and (found.uid, found.gid) != (entry.uid, entry.gid):
            return f"belongs to {found.uid}:{found.gid}, not to {entry.uid}:{entry.gid}"
        if entry.kind is Kind.SYMLINK and found.link != entry.link:
            return f"leads to {found.link}, not to {entry.link}"
        if found.device != entry.device:
            return f"is the device {found.device}, not {entry.device}"
        if self._is_root and found.xattrs != entry.xattrs:
            return "has other extended attributes"
        if self._is_exact and entry.path and found.mtime_ns != entry.mtime_ns:
            return _TIME
        return None
