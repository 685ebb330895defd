"""One file of a layer, as values.

A NamedTuple rather than a dataclass: a layer has tens of thousands of them, and a tuple is made four times faster.
"""

from __future__ import annotations

import enum

from pybuild.hints import NamedTuple
from pybuild.values import frozen


class Kind(enum.IntEnum):
    """What an entry is. WHITEOUT hides the path in the layers below; OPAQUE hides what a directory has below.

    An opaque directory is two entries: its DIRECTORY, and an OPAQUE of the same path behind it.
    """

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    HARDLINK = 3
    CHARACTER = 4
    BLOCK = 5
    FIFO = 6
    WHITEOUT = 7
    OPAQUE = 8


@frozen
class DiskContent:
    """The bytes of a file on disk. They are read when the layer is packed; another size then is an error."""

    path: str


@frozen
class BytesContent:
    """Bytes that are in memory already."""

    content: bytes


@frozen
class SpoolContent:
    """A part of an open file, `offset` bytes into it: content copied out of another layer's tar."""

    descriptor: int
    offset: int


@frozen
class LayerContent:
    """The bytes of `path` in a layer that is only a blob yet; `layer` counts from the top of the stack.

    They have to be copied out of the blob (`SpoolContent`) before they can be packed.
    """

    layer: int
    path: str


Content = DiskContent | BytesContent | SpoolContent | LayerContent


class Entry(NamedTuple):
    """A file, with what a layer keeps of it.

    `path` is relative to the root, has no `.` or `..`, and no `/` at either end; bytes that are not UTF-8 are surrogates
    (`os.fsencode`). The root itself is "". `mode` is the permission bits with setuid, setgid and sticky (0o7777).
    `link` is a symlink's text or the path that a hard link shares. `size` is bytes, of a FILE alone. `device` is (major,
    minor). `xattrs` are sorted by name. `content` is None for an index entry, whose bytes are elsewhere.
    """

    path: str
    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    content: Content | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The path of the directory that it is in."""
        return self.path.rpartition("/")[0]


def clamped(entries: tuple[Entry, ...], timestamp: int | None) -> tuple[Entry, ...]:
    """The entries with no time behind this one, in seconds since 1970; as they are for None."""
    if timestamp is None:
        return entries
    limit = timestamp * 10**9
    return tuple(entry._replace(mtime_ns=limit) if entry.mtime_ns > limit else entry for entry in entries)
