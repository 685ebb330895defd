"""Two blobs of what should be one layer: which files of them differ, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from time import gmtime, strftime

from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.extraction import opened
from pybuild.builder.workspace import Layer
from pybuild.registry import Store
from pybuild.values import frozen

_BLOCK = 1 << 20
# Files whose contents are kept for a look at them, and as much of each.
_MOST = 20
_LONGEST = 4 << 20
_AROUND = 24
# Why files of these names are other ones each time, and what helps.
_KNOWN = (
    (".pyc", "Python writes the source's time into it: set PYTHONDONTWRITEBYTECODE=1, or SOURCE_DATE_EPOCH for hash-based ones"),
    ("/ldconfig/aux-cache", "it holds inode numbers: remove it in the same RUN"),
    ("/machine-id", "it is random: empty it in the same RUN"),
    ("/dpkg.log", "a log with times: remove it in the same RUN"),
    ("/alternatives.log", "a log with times: remove it in the same RUN"),
    ("/apt/", "apt's logs and lists have times: remove them in the same RUN"),
    (".log", "a log, most likely with times: remove it in the same RUN"),
    (".a", "an archive with times: ar has a mode D"),
    (".gz", "gzip writes a time into it: gzip -n"),
    (".zip", "zip writes times into it"),
    (".jar", "an archive with times"),
)


@frozen
class Difference:
    """One file that is not the same in two layers: its path, what differs, and perhaps what to do about it."""

    path: str
    what: str
    hint: str | None = None


def differences(first: tuple[Store, Layer], second: tuple[Store, Layer]) -> tuple[Difference, ...]:
    """The files that differ, by path; then that they come in another order. Raises what `opened` does."""
    one, other = _listed(*first), _listed(*second)
    found: dict[str, str] = {}
    contents = []
    for path in sorted({*one, *other}):
        mine, theirs = one.get(path), other.get(path)
        if mine is None or theirs is None:
            found[path] = f"is in the {'second' if mine is None else 'first'} build alone"
        elif mine != theirs:
            found[path] = _how(*mine, *theirs)
            if mine[1] != theirs[1] and mine[0].kind is theirs[0].kind is Kind.FILE:
                contents.append(path)
    shown = tuple(contents[:_MOST])
    before, behind = _contents(*first, shown), _contents(*second, shown)
    for path in shown:
        found[path] = _first_byte(before[path], behind[path]) + (f"; {found[path]}" if found[path] else "")
    told = [Difference(f"/{path}", what or "has other content", _hint(path)) for path, what in found.items()]
    if not told and list(one) != list(other):
        told.append(Difference("/", "the same files come in another order"))
    return tuple(told)


def _listed(store: Store, layer: Layer) -> dict[str, tuple[Entry, bytes]]:
    found: dict[str, tuple[Entry, bytes]] = {}
    with opened(layer.descriptor, store, layer.diff_id) as items:
        for entry, read in items:
            mark = hashlib.sha256()
            while entry.size and (content := read(_BLOCK)):
                mark.update(content)
            name = f"{entry.path}/" if entry.kind is Kind.OPAQUE else entry.path
            found[name] = (entry._replace(content=None), mark.digest() if entry.size else b"")
    return found


def _contents(store: Store, layer: Layer, paths: tuple[str, ...]) -> Mapping[str, bytes]:
    if not paths:
        return {}
    found: dict[str, bytes] = {}
    with opened(layer.descriptor, store, layer.diff_id) as items:
        for entry, read in items:
            if entry.path in paths:
                content = bytearray()
                while len(content) < _LONGEST and (part := read(_BLOCK)):
                    content += part
                found[entry.path] = bytes(content)
    return found


def _how(one: Entry, _: bytes, other: Entry, __: bytes) -> str:
    """What differs beside the content."""
    if one.kind is not other.kind:
        return f"is a {one.kind.name.lower()} first, then a {other.kind.name.lower()}"
    told = []
    if one.mode != other.mode:
        told.append(f"mode {one.mode:o}, then {other.mode:o}")
    if (one.uid, one.gid) != (other.uid, other.gid):
        told.append(f"owner {one.uid}:{one.gid}, then {other.uid}:{other.gid}")
    if one.link != other.link:
        told.append(f"leads to {one.link}, then to {other.link}")
    if one.size != other.size:
        told.append(f"{one.size} bytes, then {other.size}")
    if one.mtime_ns != other.mtime_ns:
        told.append(f"time {_time(one.mtime_ns)}, then {_time(other.mtime_ns)}")
    if one.device != other.device:
        told.append(f"device {one.device}, then {other.device}")
    if one.xattrs != other.xattrs:
        told.append("other extended attributes")
    return ", ".join(told)


def _time(moment: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(moment // 10**9)) + f".{moment % 10**9:09d}".rstrip("0").rstrip(".")


def _first_byte(one: bytes, other: bytes) -> str:
    place = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    shown = [content[max(0, place - _AROUND // 2) : place + _AROUND] for content in (one, other)]
    return f"content differs from byte {place} on: {shown[0]!r}, then {shown[1]!r}"


def _hint(path: str) -> str | None:
    name = f"/{path}"
    return next((hint for part, hint in _KNOWN if name.endswith(part) or (part.endswith("/") and part in name)), None)
