"""Whether files are the same, times aside: those of two layers, or what two file systems have at one place.

Layers are compared by digests, which can be kept; file systems entry by entry, and a file's bytes only where all else agrees.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from pybuild.builder.errors import BuildError
from pybuild.builder.layers.entry import BytesContent, DiskContent, Entry, Kind, LayerContent, SpoolContent
from pybuild.builder.layers.index import MergedView, TreeView, follow, walk
from pybuild.builder.steps.snapshots import Form, fetched
from pybuild.builder.workspace import Workspace
from pybuild.registry import Descriptor, Digest

_BLOCK = 1 << 20
# A file system, and where the bytes of its layers that are only blobs are found.
Shown = tuple[MergedView, tuple[tuple[Descriptor, Digest] | None, ...]]


def show_the_same(mine: Shown, theirs: Shown, path: str, workspace: Workspace) -> bool:
    """Whether two file systems have the same at a path, links to it followed: a file, or a folder with all below it."""
    found = [_below(view, path) for view, _ in (mine, theirs)]
    if len(found[0]) != len(found[1]) or not found[0]:
        return False
    differing: list[tuple[Entry, Entry]] = []
    for (name, entry), (other_name, other) in zip(*found, strict=True):
        if name != other_name or _plain(entry) != _plain(other):
            return False
        if entry.size and _place(entry, mine) != _place(other, theirs):
            differing.append((entry, other))
    return _have_same_bytes(differing, mine, theirs, workspace)


def _below(view: MergedView, path: str) -> list[tuple[str, Entry]]:
    """The entry at a path and all below it, by names that begin there."""
    place = follow(view.lookup, path)
    top = view.lookup(place)
    if top is None:
        return []
    cut = len(place) + 1 if place else 0
    below = walk(view, place) if top.kind is Kind.DIRECTORY else ()
    return [("", top), *((entry.path[cut:], entry) for entry in below)]


def _plain(entry: Entry) -> Entry:
    link = entry.link if entry.kind is Kind.SYMLINK else ""
    return entry._replace(path="", mtime_ns=0, link=link, content=None)


def _place(entry: Entry, shown: Shown) -> object:
    """Where an entry's bytes lie: in one place they are the same."""
    content = entry.content
    return (shown[1][content.layer], content.path) if isinstance(content, LayerContent) else content


def _have_same_bytes(pairs: Sequence[tuple[Entry, Entry]], mine: Shown, theirs: Shown, workspace: Workspace) -> bool:
    if not pairs:
        return True
    ours, others = zip(*pairs, strict=True)
    with fetched(ours, mine[1], workspace) as left, fetched(others, theirs[1], workspace) as right:
        return all(_content(a) == _content(b) for a, b in zip(left, right, strict=True))


def digest_of(form: Form, workspace: Workspace, *, with_contents: bool) -> str:
    """A hash of a layer's files without their times; without `with_contents`, of all but what is in them."""
    lines = sorted(_lines(form, workspace, with_contents))
    mark = hashlib.sha256()
    for line in lines:
        mark.update(line)
    return mark.hexdigest()


def _lines(form: Form, workspace: Workspace, with_contents: bool) -> Iterator[bytes]:
    if form.tree is not None:
        yield from _tree_lines(form.tree, with_contents)
    elif form.entries is not None:
        for entry in form.entries:
            yield _line(entry, _content(entry) if with_contents and entry.size else "")
    elif form.layer is not None:
        from pybuild.builder.layers.extraction import opened

        with opened(form.layer.descriptor, workspace.store, form.layer.diff_id) as items:
            for entry, read in items:
                yield _line(entry, _hashed(_blocks(read)) if with_contents and entry.size else "")


def _tree_lines(root: str, with_contents: bool) -> Iterator[bytes]:
    view, pending = TreeView(root), [""]
    names: dict[tuple[int, int], str] = {}
    while pending:
        directory = pending.pop()
        for entry in sorted(view.children(directory), key=lambda item: item.path):
            shared = ""
            if entry.kind is Kind.FILE and (status := os.lstat(f"{root}/{entry.path}")).st_nlink > 1:
                shared = names.setdefault((status.st_dev, status.st_ino), entry.path)
            if entry.kind is Kind.DIRECTORY:
                pending.append(entry.path)
                shared = "opaque" if view.is_opaque(entry.path) else ""
            yield _line(entry._replace(link=entry.link or shared), _content(entry) if with_contents and entry.size else "")


def _line(entry: Entry, content: str) -> bytes:
    values = (entry.path, int(entry.kind), entry.mode, entry.uid, entry.gid, entry.size, entry.link, entry.device, entry.xattrs)
    return f"{values!r} {content}\n".encode(errors="surrogateescape")


def _content(entry: Entry) -> str:
    match entry.content:
        case DiskContent(path):
            with open(path, "rb", buffering=0) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        case BytesContent(content):
            return hashlib.sha256(content).hexdigest()
        case SpoolContent(descriptor, offset):
            places = range(offset, offset + entry.size, _BLOCK)
            return _hashed(os.pread(descriptor, min(_BLOCK, offset + entry.size - place), place) for place in places)
    raise BuildError(f"/{entry.path}: its content is not at hand")


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while block := read(_BLOCK):
        yield block


def _hashed(blocks: Iterable[bytes]) -> str:
    mark = hashlib.sha256()
    for block in blocks:
        mark.update(block)
    return mark.hexdigest()
