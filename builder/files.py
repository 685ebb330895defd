"""What COPY, ADD and WORKDIR put into a layer, with all names looked up in the file systems that they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from pybuild.builder.accounts import resolve_owner
from pybuild.builder.context import Context
from pybuild.builder.graph import CopyStep, WorkdirStep
from pybuild.builder.layers.copying import CopyRequest, copied, made_directory
from pybuild.builder.layers.entry import DiskContent, Entry
from pybuild.builder.layers.index import Tree
from pybuild.builder.layers.unpacking import Archives
from pybuild.builder.snapshots import Snapshots
from pybuild.registry import Descriptor, Digest

Blobs = tuple[tuple[Descriptor, Digest] | None, ...]


def copy_entries(
    step: CopyStep, snapshots: Snapshots, contexts: Mapping[str, Context], archives: Archives
) -> tuple[tuple[Entry, ...], Blobs]:
    """The layer of a COPY or ADD, and the blobs in which its LayerContents lie. Raises CopyError, ContextError."""
    below = snapshots.view(step.parent)
    owner = None
    if step.owner is not None:
        owner = _owner(step.owner, step.parent, snapshots, what="--chown")
    if isinstance(step.origin, int):
        source: Tree = snapshots.view(step.origin)
        blobs = snapshots.blobs(step.origin)
        hidden_by = _nothing_hides
    else:
        context = contexts[step.origin]
        source, blobs, hidden_by = context, (), context.hidden_by
    request = CopyRequest(step.sources, step.destination, owner, step.mode, keeps_owner=isinstance(step.origin, int))
    unpack = partial(_unpacked, archives) if step.unpack else None
    draft = copied(request, source, below, hidden_by=hidden_by, unpack=unpack)
    return draft.entries(), blobs


def directory_entries(step: WorkdirStep, snapshots: Snapshots, *, mtime_ns: int) -> tuple[Entry, ...]:
    """The layer of a WORKDIR; empty when the directory is there already."""
    view = snapshots.view(step.parent)
    draft = made_directory(step.path, view, mtime_ns=mtime_ns)
    if not draft.has_new:
        return ()
    if step.user:
        owner = _owner(step.user, step.parent, snapshots, what="USER")
        draft = made_directory(step.path, view, mtime_ns=mtime_ns, owner=owner)
    return draft.entries()


def _owner(text: str, last: int, snapshots: Snapshots, *, what: str) -> tuple[int, int]:
    """The ids that a name means in the image after step `last`; numbers alone need nothing of it."""
    if all(part.isdigit() for part in text.split(":")):
        return resolve_owner(text, None, None, what=what)
    return resolve_owner(text, *snapshots.accounts(last), what=what)


def _nothing_hides(path: str) -> str | None:
    return None


def _unpacked(archives: Archives, entry: Entry) -> Iterable[Entry] | None:
    assert isinstance(entry.content, DiskContent)
    return archives.read(entry.content.path)
