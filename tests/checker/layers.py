"""The rules of a layer, and of layers on top of each other. Source: image-spec, layer.md; descriptor.md for the digests."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import BinaryIO

from checker import tarballs
from checker.report import Report
from checker.tarballs import Member

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_CHUNK = 1 << 20

Tree = dict[bytes, bytes]
"""Path to type of everything in a file system; the root is b""."""


class _Inflated:
    """The uncompressed stream of a blob, hashed as it is read, in pieces of any size that is asked for."""

    def __init__(self, source: BinaryIO, compression: str, where: str, report: Report) -> None:
        self.sha256 = hashlib.sha256()
        self._where, self._report = where, report
        self._chunks = {"none": self._plain, "gzip": self._gzip, "zstd": self._zstd}[compression](source)
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self.sha256.update(chunk)
            self._buffer += chunk
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def _plain(self, source: BinaryIO):
        while chunk := source.read(_CHUNK):
            yield chunk

    def _gzip(self, source: BinaryIO):
        unpacker = zlib.decompressobj(31)
        rest = source.read(_CHUNK)
        try:
            while rest:
                yield unpacker.decompress(rest)
                rest = source.read(_CHUNK) if not unpacker.eof else unpacker.unused_data or source.read(_CHUNK)
                if unpacker.eof and rest:
                    unpacker = zlib.decompressobj(31)
        except zlib.error as error:
            self._report.hold(False, self._where, f"not gzip: {error}")
            return
        self._report.hold(unpacker.eof, self._where, "gzip ends in the middle")

    def _zstd(self, source: BinaryIO):
        import zstandard

        try:
            with zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True) as reader:
                while chunk := reader.read(_CHUNK):
                    yield chunk
        except zstandard.ZstdError as error:
            self._report.hold(False, self._where, f"not zstd: {error}")


def check_layer(
    path: Path, compression: str, diff_id: str, below: Tree, where: str, report: Report, *, ours: bool
) -> tuple[Tree, tuple[Member, ...]]:
    """Check a layer's blob against its diffID and on top of what is below; the file system with it, and its members."""
    with open(path, "rb") as file:
        stream = _Inflated(file, compression, where, report)
        found = tuple(tarballs.members(stream.read, where, report, ours=ours))
        while stream.read(_CHUNK):
            pass
    actual = f"sha256:{stream.sha256.hexdigest()}"
    report.hold(actual == diff_id, where, f"the diffID is {actual}, the config says {diff_id}")
    return _Changeset(below, where, report, ours=ours).apply(found), found


class _Changeset:
    def __init__(self, below: Tree, where: str, report: Report, *, ours: bool) -> None:
        self._below, self._where, self._report, self._ours = below, where, report, ours
        self._here: Tree = {}
        self._hidden: set[bytes] = set()
        self._opaque: set[bytes] = set()

    def apply(self, members: tuple[Member, ...]) -> Tree:
        """The file system after the layer: whiteouts hide what is below only, wherever they stand in the archive."""
        for member in members:
            self._member(member)
        tree = dict(self._below)
        for path in self._opaque:
            _remove(tree, path, itself=False)
        for path in self._hidden:
            _remove(tree, path, itself=True)
        for path, kind in self._here.items():
            if tree.get(path) == tarballs.DIRECTORY != kind:
                _remove(tree, path, itself=False)
            tree[path] = kind
        if self._ours:
            self._parents(tree)
        return tree

    def _member(self, member: Member) -> None:
        path = self._path(member)
        place = f"{self._where}: {member.name.decode(errors='backslashreplace')}"
        parent, _, name = path.rpartition(b"/")
        if self._ours:
            self._report.hold(member.is_posix, place, "not a POSIX header")
            self._report.hold(not member.stray, place, f"fields that it has no use for: {', '.join(member.stray)}")
        if name.startswith(WHITEOUT):
            self._mark(member, parent, name, place)
            return
        self._report.hold(path not in self._here, place, "twice in one layer")
        self._fields(member, place)
        if member.type == tarballs.LINK:
            self._link(member, place)
        if self._ours:
            self._ours_too(member, path, parent, place)
        kind = tarballs.FILE if member.type == tarballs.LINK else member.type
        self._here[path] = kind

    def _mark(self, member: Member, parent: bytes, name: bytes, place: str) -> None:
        hold = self._report.hold
        hold(member.type == tarballs.FILE and member.size == 0, place, "a whiteout is an empty file")
        if name == OPAQUE:
            hold(parent not in self._opaque, place, "twice in one layer")
            self._opaque.add(parent)
            if self._ours:
                hold(self._below.get(parent) == tarballs.DIRECTORY, place, "opaque, but there is no directory below")
                inside = (path for path in self._here if path.startswith(parent + b"/" if parent else b"") and path)
                hold(next(inside, None) is None, place, "an opaque mark stands before what is in the directory")
            return
        hidden = name[len(WHITEOUT) :]
        if not hold(hidden not in (b"", b".", b".."), place, "a whiteout of nothing"):
            return
        hold(not hidden.startswith(WHITEOUT), place, "names that start with .wh. are reserved")
        path = parent + b"/" + hidden if parent else hidden
        hold(path not in self._hidden, place, "twice in one layer")
        self._hidden.add(path)
        if self._ours:
            hold(path in self._below, place, "a whiteout, but there is nothing below to hide")
            hold(path not in self._here, place, "hidden, and there again")

    def _path(self, member: Member) -> bytes:
        place = f"{self._where}: {member.name.decode(errors='backslashreplace')}"
        self._report.hold(b"\0" not in member.name, place, "a NUL in a name")
        # umoci calls the root itself "/".
        self._report.hold(
            not member.name.startswith(b"/") or (member.name == b"/" and not self._ours), place, "names in a layer are relative"
        )
        parts = [part for part in member.name.split(b"/") if part not in (b"", b".")]
        self._report.hold(b".." not in parts, place, "a name that leaves the root")
        self._report.hold(all(len(part) <= 255 for part in parts), place, "a part of more than 255 bytes")
        return b"/".join(parts)

    def _fields(self, member: Member, place: str) -> None:
        hold = self._report.hold
        hold(member.type != tarballs.SYMLINK or member.link, place, "a symbolic link to nothing")
        hold(min(member.uid, member.gid) >= 0, place, "an owner below zero")
        is_whiteout = member.type == tarballs.CHARACTER and member.device == (0, 0)
        hold(not is_whiteout, place, "overlay's own whiteout, not that of a layer")
        for key in member.records:
            hold(b".overlay." not in key, place, f"overlay's own attribute {key!r}")

    def _link(self, member: Member, place: str) -> None:
        target = b"/".join(part for part in member.link.split(b"/") if part not in (b"", b"."))
        self._report.hold(b".." not in target.split(b"/"), place, "a hard link out of the root")
        kind = self._here.get(target, None if self._ours else self._below.get(target))
        self._report.hold(kind is not None, place, f"a hard link to {target!r}, which is not there before it")
        self._report.hold(kind != tarballs.DIRECTORY, place, "a hard link to a directory")

    def _ours_too(self, member: Member, path: bytes, parent: bytes, place: str) -> None:
        hold = self._report.hold
        canonical = path + (b"/" if member.type == tarballs.DIRECTORY and path else b"")
        hold(member.name in (canonical, b"./"), place, "the name is not in its shortest form")
        needed = {b"path": len(member.name) > 100 or not member.name.isascii(), b"size": member.size > 0o77777777777,
                  b"linkpath": len(member.link) > 100 or not member.link.isascii(),
                  b"uid": member.uid > 0o7777777, b"gid": member.gid > 0o7777777}  # fmt: skip
        for key in member.records:
            hold(
                needed.get(key, key == b"mtime" or key.startswith(b"SCHILY.xattr.")), place, f"a pax record {key!r} without need"
            )
        there = self._here.get(parent) or self._below.get(parent)
        hold(not parent or there is not None, place, "its directory is neither before it nor below")
        if member.type in (tarballs.FILE, tarballs.DIRECTORY) and path:
            late = member.type == tarballs.DIRECTORY and any(other.startswith(path + b"/") for other in self._here)
            hold(not late, place, "a directory behind what is in it")

    def _parents(self, tree: Tree) -> None:
        for path in self._here:
            parent = path.rpartition(b"/")[0]
            place = f"{self._where}: {path.decode(errors='backslashreplace')}"
            self._report.hold(not parent or tree.get(parent) == tarballs.DIRECTORY, place, "lies in what is no directory")


def _remove(tree: Tree, path: bytes, *, itself: bool) -> None:
    inside = path + b"/" if path else b""
    for other in [other for other in tree if other.startswith(inside) and other != path]:
        del tree[other]
    if itself:
        tree.pop(path, None)
